import { execFileSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync } from 'node:fs'
import { open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runCli } from '../cli.ts'
import { type Figure, measured, type Row, unmeasured } from '../figure.ts'
import { seconds } from '../measure.ts'
import { releaseCheckpoint } from '../models.ts'
import { cacheDir, requireRoom } from '../places.ts'
import { followPeakRss } from '../processMemory.ts'

const memory: Row = {
  case: 'peak RSS',
  unit: 'GB',
  referenceName: '',
  ratio: 'value/reference',
  goal: { of: 'value', at: '<=', limit: 2 },
}
const time = (from: string): Row => ({
  case: `wall, from ${from}`,
  unit: 's',
  referenceName: 'reading and writing the bytes',
  ratio: 'value/reference',
  goal: { of: 'ratio', at: '<=', limit: 2 },
})
const [cached, cold] = [time('memory'), time('the disk')]
const OUTPUT_BYTES = 12e9

export const convert: Figure = {
  work: '`models convert`, 7B in .bin shards of fp16 to int4: peak RSS as `/usr/bin/time -v` has it, and time',
  rows: [memory, cached, cold],
  async measure(context) {
    const { log } = context
    const checkpoint = await releaseCheckpoint(context)
    requireRoom(cacheDir(), OUTPUT_BYTES, 'The conversion')
    const read = await bytesOf(checkpoint)
    const folder = mkdtempSync(join(cacheDir(), 'convert-'))
    /** The same before the command and before its reference. */
    const both = async (row: Row, prepare: () => Promise<void>) => {
      const outDir = join(folder, 'engine')
      log(`converting, ${row.case}`)
      await prepare()
      let peak = 0
      const value = await seconds(async () => {
        peak = await convertOnce(checkpoint, outDir)
      })
      const written = await bytesOf(outDir)
      await rm(outDir, { recursive: true, force: true })
      log('reading and writing the same number of bytes')
      await prepare()
      const reference = await seconds(async () => {
        await readAll(checkpoint)
        await writeBytes(join(folder, 'bytes'), written)
      })
      await rm(join(folder, 'bytes'))
      const note = `${gigabytes(read).toFixed(1)} GB read, ${gigabytes(written).toFixed(1)} GB written`
      return { peak, record: measured('convert', row, { value, reference, note }) }
    }
    try {
      // twice: what was read but once is the first to make room
      const first = await both(cached, async () => {
        await readAll(checkpoint)
        await readAll(checkpoint)
      })
      const second = mayDropCaches() ? await both(cold, dropCaches) : null
      const peak = Math.max(first.peak, second?.peak ?? 0)
      return [
        measured('convert', memory, { value: gigabytes(peak), note: 'LLM int4, vision int8' }),
        first.record,
        second?.record ?? unmeasured('convert', cold, "This user may not empty the system's page cache."),
      ]
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
}

const DROP_CACHES = '/proc/sys/vm/drop_caches'

function mayDropCaches(): boolean {
  try {
    accessSync(DROP_CACHES, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Nothing of any file is left in memory. */
async function dropCaches(): Promise<void> {
  execFileSync('sync')
  await writeFile(DROP_CACHES, '3')
}

const gigabytes = (bytes: number) => bytes / 1e9

/** Runs the command; resolves to the largest RSS of its processes. */
async function convertOnce(checkpoint: string, outDir: string): Promise<number> {
  const args = ['models', 'convert', checkpoint, '--out', outDir, '--llm', 'int4', '--vision', 'int8']
  let peak = () => 0
  await runCli(args, (pid) => {
    peak = followPeakRss(pid)
  })
  return peak()
}

async function filesOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

async function bytesOf(dir: string): Promise<number> {
  const sizes = await Promise.all((await filesOf(dir)).map(async (path) => (await stat(path)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

const CHUNK_BYTES = 16 * 2 ** 20

async function readAll(dir: string): Promise<void> {
  const buffer = Buffer.alloc(CHUNK_BYTES)
  for (const path of await filesOf(dir)) {
    const file = await open(path)
    while ((await file.read(buffer, 0, buffer.length, null)).bytesRead > 0);
    await file.close()
  }
}

/** Writes and flushes, as a conversion does before it says that it is done. */
async function writeBytes(path: string, count: number): Promise<void> {
  const file = await open(path, 'w')
  const chunk = Buffer.alloc(CHUNK_BYTES, 1)
  for (let left = count; left > 0; left -= chunk.length) await file.write(chunk, 0, Math.min(left, chunk.length))
  await file.sync()
  await file.close()
}
