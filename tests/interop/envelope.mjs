// Envelopes (6/WAKU1) and their data field (7/WAKU-DATA).

import { createCipheriv, createDecipheriv, pbkdf2Sync, randomBytes } from 'node:crypto'
import { ECIES, pk2id } from '@ethereumjs/devp2p'
import { RLP } from '@ethereumjs/rlp'
import { keccak256 } from 'ethereum-cryptography/keccak.js'
import { ecdsaRecover } from 'ethereum-cryptography/secp256k1-compat.js'

const KEY_ROUNDS = 65356
const NONCE_SIZE = 12
const TAG_SIZE = 16
const SIGNATURE_SIZE = 65
const PADDING_BLOCK = 256
const SIGNED = 4

export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const toInt = (bytes) => bytes.reduce((number, byte) => number * 256 + byte, 0)
export const hash = (bytes) => hex(keccak256(bytes))

/** An envelope with its hash and time of creation; from numbers and bytes, or from decoded RLP. */
export function envelope([expiry, ttl, topic, data, nonce]) {
  const fields = [expiry, ttl, topic, data, nonce]
  const rlp = RLP.encode(fields)
  const [expires, lives] = RLP.decode(rlp)
  return { fields, rlp, topic, data, hash: hash(rlp), created: toInt(expires) - toInt(lives) }
}

/** The envelopes in a packet, whose bytes must be what we would send. */
export function decodeEnvelopes(payload) {
  const envelopes = RLP.decode(payload).map(envelope)
  if (hex(encodeEnvelopes(envelopes)) !== hex(payload)) throw new Error('not canonical RLP')
  return envelopes
}

export const encodeEnvelopes = (envelopes) => RLP.encode(envelopes.map(({ fields }) => fields))

/** For sort: by creation time, then hash, both descending. */
export function newestFirst(a, b) {
  return b.created - a.created || (a.hash < b.hash ? 1 : -1)
}

export function bloomOf(topics) {
  const bloom = new Uint8Array(64)
  for (const topic of topics) {
    for (const n of [0, 1, 2]) {
      const bit = topic[n] + 256 * ((topic[3] >> n) & 1)
      bloom[bit >> 3] |= 1 << (bit & 7)
    }
  }
  return bloom
}

export const symmetricKey = (password) => pbkdf2Sync(password, '', KEY_ROUNDS, 32, 'sha256')

/** The data field with an unsigned payload of at most 255 bytes. */
export function seal(payload, key) {
  const size = 2 + payload.length
  const padding = randomBytes(PADDING_BLOCK - (size % PADDING_BLOCK))
  const nonce = randomBytes(NONCE_SIZE)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const plain = Buffer.concat([Buffer.from([1, payload.length]), payload, padding])
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag(), nonce])
}

/** Open a data field that was sealed with a symmetric key. Throws when it was not. */
export function openSymmetric(data, key) {
  const decipher = createDecipheriv('aes-256-gcm', key, data.subarray(-NONCE_SIZE))
  decipher.setAuthTag(data.subarray(-NONCE_SIZE - TAG_SIZE, -NONCE_SIZE))
  const sealed = data.subarray(0, -NONCE_SIZE - TAG_SIZE)
  return read(Buffer.concat([decipher.update(sealed), decipher.final()]))
}

/** Open a data field that was sealed for a public key. Throws when it was not. */
export function openAsymmetric(data, privateKey, id) {
  return read(new ECIES(privateKey, id, null)._decryptMessage(data))
}

/** The payload and the node id of who signed it, if somebody did. */
function read(plain) {
  const width = plain[0] & 3
  const size = toInt([...plain.subarray(1, 1 + width)].reverse())
  const payload = plain.subarray(1 + width, 1 + width + size)
  if (!(plain[0] & SIGNED)) return { payload }
  const signature = plain.subarray(-SIGNATURE_SIZE)
  const signed = keccak256(plain.subarray(0, -SIGNATURE_SIZE))
  const signer = ecdsaRecover(signature.subarray(0, 64), signature[64], signed, false)
  return { payload, signer: pk2id(signer) }
}
