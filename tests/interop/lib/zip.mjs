// @ts-check
/** Reads a zip as an archive program would: its central directory, then each file. */

import assert from 'node:assert/strict'
import * as zlib from 'node:zlib'

/** The files of a zip, by name. @param {Buffer} zip @returns {Map<string, Buffer>} */
export function unzip(zip) {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  assert.ok(end >= 0, 'a zip ends with its directory')
  const files = new Map()
  let at = zip.readUInt32LE(end + 16)
  for (let left = zip.readUInt16LE(end + 10); left > 0; left -= 1) {
    assert.equal(zip.toString('latin1', at, at + 4), 'PK\x01\x02')
    const [method, sum, size] = [zip.readUInt16LE(at + 10), zip.readUInt32LE(at + 16), zip.readUInt32LE(at + 20)]
    const [name, extra, comment] = [28, 30, 32].map((field) => zip.readUInt16LE(at + field))
    const local = zip.readUInt32LE(at + 42)
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28)
    const stored = zip.subarray(start, start + size)
    const content = method === 8 ? zlib.inflateRawSync(stored) : stored
    // Node 20 has no crc32.
    if (zlib.crc32) assert.equal(zlib.crc32(content), sum)
    files.set(zip.toString('utf8', at + 46, at + 46 + Number(name)), content)
    at += 46 + Number(name) + Number(extra) + Number(comment)
  }
  return files
}
