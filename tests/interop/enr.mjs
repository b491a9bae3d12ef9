// Node records by @chainsafe/enr. Reads JSON {read: [texts], make: [{key, seq, ip, tcp, udp}]} from
// stdin; writes {read: [what it reads], made: [texts]}. A record that it does not take is null.

import { ENR, SignableENR } from '@chainsafe/enr'
import { readFileSync } from 'node:fs'

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const { read, make } = JSON.parse(readFileSync(0, 'utf8'))

function shown(text) {
  try {
    const enr = ENR.decodeTxt(text)
    return {
      seq: Number(enr.seq),
      node_id_hash: enr.nodeId,
      ip: enr.ip ?? null,
      ip6: enr.ip6 ?? null,
      tcp: enr.tcp ?? null,
      udp: enr.udp ?? null,
      waku: enr.kvs.has('waku') ? hex(enr.kvs.get('waku')) : null,
    }
  } catch {
    return null
  }
}

function made({ key, seq, ip, tcp, udp }) {
  const enr = SignableENR.createV4(Uint8Array.from(Buffer.from(key, 'hex')))
  enr.ip = ip
  enr.tcp = tcp
  enr.udp = udp
  enr.seq = BigInt(seq)
  return enr.encodeTxt()
}

console.log(JSON.stringify({ read: read.map(shown), made: make.map(made) }))
