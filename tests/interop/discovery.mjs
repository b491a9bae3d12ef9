// The discovery of @ethereumjs/devp2p: prints its enode URL, then one line for each node that it
// finds. With an argument, that enode URL is where it starts.

import { DPT } from '@ethereumjs/devp2p'
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'

const HOST = '127.0.0.1'
const hex = (bytes) => Buffer.from(bytes).toString('hex')

/** A UDP port that nobody uses: their DPT wants to know its own before it has one. */
async function freePort() {
  const socket = createSocket('udp4')
  await new Promise((resolve) => socket.bind(0, HOST, resolve))
  const { port } = socket.address()
  await new Promise((resolve) => socket.close(resolve))
  return port
}

function parse(enode) {
  const url = new URL(enode)
  const port = Number(url.port)
  return { id: Buffer.from(url.username, 'hex'), address: url.hostname, udpPort: port, tcpPort: port }
}

const port = await freePort()
const dpt = new DPT(randomBytes(32), {
  endpoint: { address: HOST, udpPort: port, tcpPort: port },
  refreshInterval: 2000,
  dnsNetworks: [],
  shouldFindNeighbours: true,
  shouldGetDnsPeers: false,
})
dpt.events.on('peer:new', (peer) => console.log(hex(peer.id)))
dpt.events.on('error', (error) => console.error(error.message))
dpt.bind(port, HOST)
console.log(`enode://${hex(dpt.id)}@${HOST}:${port}`)
if (process.argv[2]) await dpt.bootstrap(parse(process.argv[2]))
