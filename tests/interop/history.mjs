// history.mjs URL KEY: reads all history that our REST endpoint has, page by page, with the packages
// of the network's successor. Each hash must be theirs; messages that KEY (64 hexadecimal digits)
// opens are printed, one JSON text a line.
import { createDecoder } from "@waku/message-encryption/symmetric";
import { messageHash } from "@waku/message-hash";

const [url, key] = process.argv.slice(2);
const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");
let pages = 0;
let cursor = "";
do {
  const query = new URLSearchParams({ includeData: "true", pageSize: "7", cursor });
  const answer = await fetch(`${url}?${query}`, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(await answer.text());
  // A timestamp has more digits than a number of JavaScript.
  const text = (await answer.text()).replace(/"timestamp":(\d+)/g, '"timestamp":"$1"');
  const told = JSON.parse(text);
  for (const { messageHash: name, message, pubsubTopic } of told.messages) {
    const { payload, timestamp, ...rest } = message;
    const sealed = {
      ...rest,
      payload: new Uint8Array(Buffer.from(payload, "base64")),
      timestamp: BigInt(timestamp),
      meta: undefined,
      rateLimitProof: undefined,
    };
    const computed = hex(messageHash(pubsubTopic, sealed));
    if (computed !== name) throw new Error(`${name} is ${computed}`);
    const decoder = createDecoder(message.contentTopic, Buffer.from(key, "hex"), pubsubTopic);
    const opened = await decoder.fromProtoObj(pubsubTopic, sealed);
    if (opened) console.log(JSON.stringify(Buffer.from(opened.payload).toString()));
  }
  cursor = told.paginationCursor;
  pages += 1;
} while (cursor);
console.error(`${pages} pages`);
