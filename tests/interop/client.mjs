// Posts to the mailserver whose enode URL is the argument and asks it for history.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { ETH } from '@ethereumjs/devp2p'
import { RLP } from '@ethereumjs/rlp'

import {
  decodeEnvelopes,
  encodeEnvelopes,
  envelope,
  hash,
  hex,
  newestFirst,
  symmetricKey,
  toInt,
} from './envelope.mjs'
import { ZERO_HASH, decodeCompletion, plainRequest, sealedRequest } from './request.mjs'
import { Code, Option, Waku, connect } from './waku.mjs'

const TTL = 3600 // seconds
const LARGE = 1_000_000 // bytes
const LIMIT = 300 // envelopes
const MAX_PACKET = 1 << 20 // bytes
const LIGHT = [[Option.POW, 0], [Option.BLOOM, new Uint8Array(64)], [Option.LIGHT, 1]]

const now = Math.floor(Date.now() / 1000)
const key = symmetricKey('status-offline-inbox')

// All three bits of the first topic fall into one byte of a bloom, those of the others do not.
const TOPICS = [
  Uint8Array.of(0, 1, 2, 0),
  ...[1, 2, 3, 4].map((n) => Uint8Array.of(n, 50 + n, 100 + n, n)),
]

/** `count` envelopes of the last ten minutes, several to a second. */
function makeEnvelopes(count, first = 0) {
  return Array.from({ length: count }, (_, i) => {
    const n = first + i
    const expiry = now - (n % 600) + TTL
    return envelope([expiry, TTL, TOPICS[n % TOPICS.length], randomBytes(1 + (n % 500)), n])
  })
}

/** Post packets of envelopes; answers the errors of each once all are confirmed. */
async function post(waku, batches) {
  const payloads = batches.map(encodeEnvelopes)
  for (const payload of payloads) waku.send(Code.MESSAGES, payload)
  const responses = new Map()
  for (const _ of payloads) {
    const response = RLP.decode(await waku.expect(Code.MESSAGE_RESPONSE))
    const [version, [batchHash, errors]] = response
    assert.equal(toInt(version), 1)
    const ack = RLP.decode(await waku.expect(Code.BATCH_ACK))
    assert.equal(hex(ack), hex(batchHash))
    responses.set(hex(batchHash), errors)
  }
  return payloads.map((payload) => {
    const errors = responses.get(hash(payload))
    assert(errors, 'a batch was not confirmed')
    return errors.map(([id, code, text]) => [hex(id), toInt(code), Buffer.from(text).toString()])
  })
}

/** Send one request; answers the packets of envelopes and what completed them. */
async function ask(waku, packet) {
  waku.send(Code.REQUEST, packet)
  const packets = []
  for (;;) {
    const [code, payload] = await waku.receive()
    if (code === Code.REQUEST_COMPLETE) return { packets, completion: decodeCompletion(payload) }
    assert.equal(code, Code.P2P_MESSAGE)
    assert(payload.length <= MAX_PACKET)
    packets.push(decodeEnvelopes(payload))
  }
}

/** Follow the cursors to the end; answers the envelopes of each page. */
async function history(waku, request, query) {
  const pages = []
  let cursor
  do {
    const { id, packet, dialect } = request({ ...query, cursor, key })
    const { packets, completion } = await ask(waku, packet)
    const page = packets.flat()
    const lastHash = page.at(-1)?.hash ?? ZERO_HASH
    cursor = completion.cursor
    assert.deepEqual(completion, { id, dialect, lastHash, cursor })
    pages.push(page)
  } while (cursor.length === 36)
  assert.equal(cursor.length, 0)
  return pages
}

async function postsAreConfirmed(waku, envelopes) {
  const batches = []
  for (let start = 0; start < envelopes.length; start += 100) {
    batches.push(envelopes.slice(start, start + 100))
  }
  const [first] = batches
  const errors = await post(waku, [...batches, [], first])
  assert.deepEqual(errors.flat(), [])
}

async function historyIsWhatWasPosted(waku, envelopes, request, topics) {
  const query = { lower: now - 600, upper: now, topics, limit: LIMIT }
  const pages = await history(waku, request, query)
  const wanted = envelopes.filter(({ topic }) => topics.includes(topic)).sort(newestFirst)
  assert.deepEqual(pages.flat().map(({ hash }) => hash), wanted.map(({ hash }) => hash))
  assert.equal(hex(encodeEnvelopes(pages.flat())), hex(encodeEnvelopes(wanted)))
  const full = Math.floor(wanted.length / LIMIT)
  const sizes = pages.map((page) => page.length)
  assert.deepEqual(sizes, [...Array(full).fill(LIMIT), wanted.length % LIMIT])
}

async function untimelyEnvelopesAreReported(waku) {
  const topic = Uint8Array.of(9, 9, 9, 9)
  const old = envelope([now - 60, 50, topic, randomBytes(10), 0])
  const early = envelope([now + 100, 50, topic, randomBytes(10), 0])
  const good = envelope([now + 50, 50, topic, randomBytes(10), 0])
  const [errors] = await post(waku, [[old, early, good]])
  assert.deepEqual(errors, [
    [old.hash, 1, 'very old envelope'],
    [early.hash, 1, 'envelope from future'],
  ])
  const query = { lower: now - 600, upper: now + 600, topics: [topic], limit: LIMIT }
  const pages = await history(waku, plainRequest, query)
  assert.deepEqual(pages.flat().map(({ hash }) => hash), [good.hash])
}

async function badRequestsAreRefused(waku) {
  const query = { lower: now - 600, upper: now, topics: TOPICS, limit: LIMIT, key }
  const refused = [
    plainRequest({ ...query, topics: [], bloom: randomBytes(10) }),
    plainRequest({ ...query, cursor: randomBytes(5) }),
    sealedRequest({ ...query, key: symmetricKey('wrong') }),
  ]
  for (const { id, packet } of refused) {
    const { packets, completion } = await ask(waku, packet)
    assert.deepEqual(packets, [])
    assert.equal(completion.dialect, 'error')
    assert.equal(completion.id, id)
    assert.match(completion.text, /\w+/)
  }
}

const [enode] = process.argv.slice(2)
const poster = await connect(enode)
const status = await poster.exchangeStatus(LIGHT)
assert.equal(toInt(status.get(Option.POW)), 0)
assert.equal(toInt(status.get(Option.CONFIRMATIONS)), 1)

const large = envelope([now + TTL, TTL, TOPICS[2], randomBytes(LARGE), 0])
const envelopes = [large, ...makeEnvelopes(1300)]
await postsAreConfirmed(poster, envelopes)

const asker = await connect(enode, [ETH.eth68, Waku.waku1])
await asker.exchangeStatus(LIGHT)
for (const request of [plainRequest, sealedRequest]) {
  await historyIsWhatWasPosted(asker, envelopes, request, TOPICS)
  await historyIsWhatWasPosted(asker, envelopes, request, TOPICS.slice(0, 2))
}
await untimelyEnvelopesAreReported(asker)
await badRequestsAreRefused(asker)
await historyIsWhatWasPosted(asker, envelopes, plainRequest, TOPICS.slice(2))

await Promise.all([poster.disconnect(), asker.disconnect()])
process.exit()
