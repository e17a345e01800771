import { readSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import type { Place } from '../onnx/externalData.ts'

/** What was written to a place: a checksum (CRC-32) of the bytes, or the bytes themselves (base64) where the model file keeps them. */
export type Written = number | string

/** Takes the bytes of one place, first to last. */
export interface TensorOutput {
  /** @throws RangeError past the end of the place */
  write(bytes: Uint8Array): void
  /** @throws RangeError where bytes are missing */
  end(): Written
}

/** Small enough for a processor's own cache: bytes are looked at twice. */
const CHUNK_BYTES = 1 << 20

/** @param open gives a data file's descriptor */
export function outputTo(place: Place, open: (file: string) => number, onBytes: (bytes: number) => void): TensorOutput {
  const length = 'inline' in place ? place.inline.length : place.length
  let done = 0
  let sum = 0
  const put = (bytes: Uint8Array) => {
    if ('inline' in place) place.inline.set(bytes, done)
    else {
      writeFully(open(place.file), bytes, place.offset + done)
      sum = crc32(bytes, sum)
      onBytes(bytes.length)
    }
    done += bytes.length
  }
  const refuse = (bytes: number) => new RangeError(`tensor of ${bytes} bytes where ${length} were announced`)
  return {
    write(bytes) {
      if (done + bytes.length > length) throw refuse(done + bytes.length)
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) put(bytes.subarray(at, at + CHUNK_BYTES))
    },
    end() {
      if (done !== length) throw refuse(done)
      return 'inline' in place ? Buffer.from(place.inline).toString('base64') : sum
    },
  }
}

/** Whether a place holds what was written to it earlier. */
export function holds(place: Place, written: Written | undefined, open: (file: string) => number): boolean {
  if ('inline' in place) return typeof written === 'string'
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, place.length))
  let sum = 0
  for (let done = 0; done < place.length; ) {
    const count = readSync(open(place.file), chunk, 0, Math.min(chunk.length, place.length - done), place.offset + done)
    if (count === 0) return false
    sum = crc32(chunk.subarray(0, count), sum)
    done += count
  }
  return sum === written
}

function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done)
  }
}
