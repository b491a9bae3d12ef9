// Reconciles as the initiator, with the negentropy of nostr-tools: one conversation after another.
//
// Each begins with a line of JSON on the standard input: {"items": [[created, id in hex], ...],
// "frameLimit": bytes}. Messages go out and answers come in as lines of hex. A conversation ends
// with a line of JSON: {"have": [id, ...], "need": [id, ...]}.

import { createInterface } from "node:readline";
import { nip77 } from "nostr-tools";

const { Negentropy, NegentropyStorageVector } = nip77;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function nextLine() {
  const { value, done } = await lines.next();
  return done ? null : value;
}

for (let line; (line = await nextLine()) !== null;) {
  const { items, frameLimit } = JSON.parse(line);
  const storage = new NegentropyStorageVector();
  for (const [created, id] of items) storage.insert(created, id);
  storage.seal();
  const negentropy = new Negentropy(storage, frameLimit);
  const have = new Set(), need = new Set();
  let message = negentropy.initiate();
  while (message !== null) {
    console.log(message);
    const answer = await nextLine();
    message = negentropy.reconcile(answer, id => have.add(id), id => need.add(id));
  }
  console.log(JSON.stringify({ have: [...have], need: [...need] }));
}
