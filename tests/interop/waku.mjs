// The waku/1 capability (6/WAKU1) as a sub-protocol of @ethereumjs/devp2p.

import assert from 'node:assert/strict'
import { EventEmitter, on, once } from 'node:events'
import { ECIES, RLPx, genPrivateKey } from '@ethereumjs/devp2p'
import { RLP } from '@ethereumjs/rlp'
import * as snappy from 'snappyjs'

import { hex, toInt } from './envelope.mjs'

export const Code = {
  STATUS: 0,
  MESSAGES: 1,
  BATCH_ACK: 11,
  MESSAGE_RESPONSE: 12,
  REQUEST_COMPLETE: 125,
  REQUEST: 126,
  P2P_MESSAGE: 127,
}

export const Option = { POW: 0, BLOOM: 1, LIGHT: 2, CONFIRMATIONS: 3 }

const MAX_SILENCE = 10_000 // milliseconds

// The package takes the first byte of a frame for the message id. Ids from 128 on are two bytes
// of RLP, 0x81 and the id, and ours, behind the 16 of the base protocol, go up to 143.
const { parseBody } = ECIES.prototype
ECIES.prototype.parseBody = function (data) {
  const body = parseBody.call(this, data)
  return body[0] === 0x81 ? body.subarray(1) : body
}

/** One peer. Its `packets`, `[code, payload]`, end when it disconnects. */
export class Waku {
  static waku1 = { name: 'waku', version: 1, length: 128, constructor: Waku }

  #events = new EventEmitter()
  #send

  constructor(version, peer, send) {
    this.peer = peer
    this.packets = on(this.#events, 'packet', { close: ['close'] })
    this.#send = send
    peer.events.once('close', () => this.#events.emit('close'))
  }

  /** The package calls this with every packet. */
  _handleMessage(code, payload) {
    this.#events.emit('packet', code, payload)
  }

  send(code, payload) {
    assert.equal(this.peer.getHelloMessage().protocolVersion, 5) // else it takes no snappy
    this.#send(code, snappy.compress(payload))
  }

  async receive() {
    const silent = () => this.packets.throw(new Error('no packet for too long'))
    const timer = setTimeout(silent, MAX_SILENCE)
    const { value, done } = await this.packets.next()
    clearTimeout(timer)
    assert(!done, 'the peer is gone')
    return value
  }

  /** The payload of the next packet, which must have this code. */
  async expect(code) {
    const [received, payload] = await this.receive()
    assert.equal(received, code)
    return payload
  }

  /** Send a status with these options, `[[key, value], ...]`; answers the peer's, as a Map. */
  async exchangeStatus(options) {
    this.send(Code.STATUS, RLP.encode(options))
    const status = RLP.decode(await this.expect(Code.STATUS))
    return new Map(status.map(([key, value]) => [toInt(key), value]))
  }

  /** Say goodbye; done when the peer has closed the connection. */
  async disconnect() {
    const closed = once(this.#events, 'close')
    this.peer.disconnect()
    await closed
  }
}

/** Connect to an enode URL. */
export async function connect(enode, capabilities = [Waku.waku1]) {
  const { username, hostname, port } = new URL(enode)
  const rlpx = new RLPx(genPrivateKey(), { capabilities })
  rlpx.events.on('peer:error', (_, error) => { throw error })
  const signal = AbortSignal.timeout(MAX_SILENCE)
  const added = once(rlpx.events, 'peer:added', { signal })
  const id = Uint8Array.from(Buffer.from(username, 'hex'))
  await rlpx.connect({ id, address: hostname, tcpPort: Number(port) })
  const [peer] = await added
  return peer.getProtocols()[0]
}

/** Listen on a port that the system chooses; `serve` gets every peer. Answers the enode URL. */
export async function listen(privateKey, serve) {
  const rlpx = new RLPx(privateKey, { capabilities: [Waku.waku1] })
  rlpx.events.on('peer:added', (peer) => serve(peer.getProtocols()[0]))
  rlpx.listen(0, '127.0.0.1')
  await once(rlpx.events, 'listening')
  return `enode://${hex(rlpx.id)}@127.0.0.1:${rlpx._server.address().port}`
}
