// Requests for history, as two kinds of client make them, and what completes them.

import { randomBytes } from 'node:crypto'
import { RLP } from '@ethereumjs/rlp'

import { bloomOf, envelope, hex, seal } from './envelope.mjs'

export const ZERO_HASH = '00'.repeat(32)

const ERROR = Buffer.from('ERROR=')
const NOTHING = new Uint8Array()
const NO_TOPIC = new Uint8Array(4)

/** The last Status app: a plain list with an id of its own, for topics. */
export function plainRequest({ lower, upper, topics, limit, cursor = NOTHING, bloom = NOTHING }) {
  const id = randomBytes(16).toString('hex')
  const packet = RLP.encode([id, lower, upper, limit, cursor, bloom, topics])
  return { id: hex(Buffer.from(id)), packet, dialect: 'bytes' }
}

/** 8/WAKU-MAIL and nim: sealed in an envelope without times, for the bloom of the topics. */
export function sealedRequest({ lower, upper, topics, limit, cursor = NOTHING, key }) {
  const payload = RLP.encode([lower, upper, bloomOf(topics), limit, cursor])
  const { rlp, hash } = envelope([0, 0, NO_TOPIC, seal(payload, key), 0])
  return { id: hash, packet: rlp, dialect: 'list' }
}

/** A Request Complete packet: a list or a byte string, or an error. */
export function encodeCompletion({ dialect, id, lastHash, cursor, text }) {
  const requestId = Buffer.from(id, 'hex')
  if (dialect === 'error') return RLP.encode(Buffer.concat([ERROR, requestId, Buffer.from(text)]))
  const items = [requestId, Buffer.from(lastHash, 'hex'), cursor]
  return RLP.encode(dialect === 'list' ? items : Buffer.concat(items))
}

/** The content of such a packet. */
export function decodeCompletion(payload) {
  const item = RLP.decode(payload)
  if (Array.isArray(item)) {
    const [id, lastHash, cursor = NOTHING] = item
    return { dialect: 'list', id: hex(id), lastHash: hex(lastHash), cursor }
  }
  if (ERROR.equals(item.subarray(0, 6))) {
    const text = Buffer.from(item.subarray(38)).toString()
    return { dialect: 'error', id: hex(item.subarray(6, 38)), text }
  }
  const [id, lastHash] = [hex(item.subarray(0, 32)), hex(item.subarray(32, 64))]
  return { dialect: 'bytes', id, lastHash, cursor: item.subarray(64) }
}
