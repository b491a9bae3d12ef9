// Opens messages in the browser: the key is derived, kept and used here, and sent to nobody.
// It is kept for this tab, until that is closed or "Forget" is pressed.
const KEPT = "wakumail message key";
const ROUNDS = 65356; // of PBKDF2 (7/WAKU-DATA)
const NONCE = 12; // bytes at the end of the data
const SIGNATURE = 65;

const form = document.getElementById("opening");
const field = document.getElementById("key");
const told = document.getElementById("told");
const forget = document.getElementById("forget");

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const hex = (array) => Array.from(array, (one) => one.toString(16).padStart(2, "0")).join("");
const unhex = (digits) => Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));

// The 32 bytes of a key, from its digits or a password.
async function derive(text) {
  const digits = text.replace(/^0x/, "");
  if (/^[0-9a-fA-F]{64}$/.test(digits)) return unhex(digits);
  const password = new TextEncoder().encode(text);
  const base = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
  const rule = { name: "PBKDF2", hash: "SHA-256", salt: new Uint8Array(0), iterations: ROUNDS };
  return new Uint8Array(await crypto.subtle.deriveBits(rule, base, 256));
}

// The message in the data of an envelope, or null if the key does not open it.
async function openSealed(data, key) {
  if (data.length < NONCE + 16) return null;
  const rule = { name: "AES-GCM", iv: data.slice(-NONCE) };
  let plain;
  try {
    plain = new Uint8Array(await crypto.subtle.decrypt(rule, key, data.slice(0, -NONCE)));
  } catch {
    return null;
  }
  if (!plain.length) return null;
  const width = plain[0] & 3;
  let size = 0;
  for (let at = width; at > 0; at -= 1) size = size * 256 + (plain[at] ?? 0);
  const signed = Boolean(plain[0] & 4);
  const end = plain.length - (signed ? SIGNATURE : 0);
  if (1 + width + size > end) return null;
  return { payload: plain.slice(1 + width, 1 + width + size), signed };
}

function tell(payload) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
  } catch {
    return "0x" + hex(payload);
  }
}

async function openAll(raw) {
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["decrypt"]);
  const places = [...document.querySelectorAll("[data-sealed]")];
  let opened = 0;
  for (const place of places) {
    const message = await openSealed(bytes(place.dataset.sealed), key);
    place.className = message ? "opened" : "sealed";
    place.textContent = message ? tell(message.payload) : "sealed";
    if (!message) continue;
    opened += 1;
    if (message.signed) place.title = "signed; the command line tells by whom";
  }
  told.textContent = `${opened} of ${places.length} opened`;
  forget.hidden = false;
}

if (form && globalThis.crypto?.subtle) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const raw = await derive(field.value);
    field.value = "";
    sessionStorage.setItem(KEPT, hex(raw));
    await openAll(raw);
  });
  forget.addEventListener("click", () => {
    sessionStorage.removeItem(KEPT);
    location.reload();
  });
  const kept = sessionStorage.getItem(KEPT);
  if (kept) await openAll(unhex(kept));
}
