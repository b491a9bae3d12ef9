// A mailserver in memory: prints its enode URL, takes envelopes, answers requests for history.

import { genPrivateKey, pk2id } from '@ethereumjs/devp2p'
import { RLP } from '@ethereumjs/rlp'
import { secp256k1 } from 'ethereum-cryptography/secp256k1.js'

import {
  bloomOf,
  decodeEnvelopes,
  encodeEnvelopes,
  hash,
  hex,
  newestFirst,
  openAsymmetric,
  openSymmetric,
  symmetricKey,
  toInt,
} from './envelope.mjs'
import { ZERO_HASH, encodeCompletion } from './request.mjs'
import { Code, Option, listen } from './waku.mjs'

const CURSOR_SIZE = 36 // bytes; the last four are the number of envelopes before the page
const STATUS = [[Option.POW, 0], [Option.CONFIRMATIONS, 1]]

const privateKey = genPrivateKey()
const nodeId = pk2id(secp256k1.getPublicKey(privateKey, false))
const key = symmetricKey('status-offline-inbox')
const archive = new Map()

const handlers = {
  [Code.MESSAGES](waku, payload) {
    for (const envelope of decodeEnvelopes(payload)) archive.set(envelope.hash, envelope)
    const batchHash = Buffer.from(hash(payload), 'hex')
    waku.send(Code.MESSAGE_RESPONSE, RLP.encode([1, [batchHash, []]]))
    waku.send(Code.BATCH_ACK, RLP.encode(batchHash))
  },

  [Code.REQUEST](waku, payload) {
    const request = readRequest(payload, waku.peer.getId())
    const completion = request.dialect === 'error' ? request : deliver(waku, request)
    waku.send(Code.REQUEST_COMPLETE, encodeCompletion(completion))
  },
}

/** Send a page in two packets; answers what completes it. */
function deliver(waku, { id, dialect, lower, upper, bloom, topics, limit, cursor }) {
  const chosen = topics.map(hex)
  const covers = (topic) => bloomOf([topic]).every((byte, i) => (byte & ~bloom[i]) === 0)
  const wants = ({ topic }) => (chosen.length ? chosen.includes(hex(topic)) : covers(topic))
  const found = [...archive.values()]
    .filter(({ created }) => toInt(lower) <= created && created <= toInt(upper))
    .filter(wants)
    .sort(newestFirst)
  const start = toInt(cursor)
  const end = start + toInt(limit)
  const page = found.slice(start, end)
  const half = Math.ceil(page.length / 2)
  for (const packet of [page.slice(0, half), page.slice(half)]) {
    if (packet.length) waku.send(Code.P2P_MESSAGE, encodeEnvelopes(packet))
  }
  const next = Buffer.alloc(end < found.length ? CURSOR_SIZE : 0)
  if (next.length) next.writeUInt32BE(end, CURSOR_SIZE - 4)
  return { id, dialect, lastHash: page.at(-1)?.hash ?? ZERO_HASH, cursor: next }
}

/** A request of the last Status app, of status-go or of 8/WAKU-MAIL. */
function readRequest(packet, peerId) {
  const fields = RLP.decode(packet)
  if (fields.length === 7) {
    const [id, lower, upper, limit, cursor, bloom, topics] = fields
    return { id: hex(id), dialect: 'bytes', lower, upper, bloom, topics, limit, cursor }
  }
  const id = hash(packet)
  const { payload, signer } = unseal(fields[3])
  if (payload === undefined) return { id, dialect: 'error', text: 'sealed for somebody else' }
  if (!signer || hex(signer) !== hex(peerId)) {
    return { id, dialect: 'error', text: 'not signed by the peer' }
  }
  const items = RLP.decode(payload)
  if (items.length === 7) {
    const [lower, upper, bloom, topics, limit, cursor] = items
    return { id, dialect: 'bytes', lower, upper, bloom, topics, limit, cursor }
  }
  const [lower, upper, bloom, limit, cursor = new Uint8Array()] = items
  return { id, dialect: 'list', lower, upper, bloom, topics: [], limit, cursor }
}

/** The content of a data field that is sealed for us; an empty object for others. */
function unseal(data) {
  const ways = [
    () => openSymmetric(data, key),
    () => openAsymmetric(data, privateKey, nodeId),
    () => ({}),
  ]
  for (const open of ways) {
    try {
      return open()
    } catch {
      // sealed in another way
    }
  }
}

async function serve(waku) {
  await waku.exchangeStatus(STATUS)
  for await (const [code, payload] of waku.packets) handlers[code](waku, payload)
}

console.log(await listen(privateKey, serve))
