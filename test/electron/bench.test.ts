/** `bench` as a script sees it, and the arithmetic of its records; what it measures is not tested here. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FIGURES } from '../../electron/cli/benchCommand.ts'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import { loadModel } from '../../native-models/inference/loadModel.ts'
import { measured, type Row, unmeasured } from '../bench/figure.ts'
import { GroundedWriter, groundedTalks } from '../bench/grounded.ts'
import { ggufHeader, tensorBytes } from '../bench/llama/gguf.ts'
import { median } from '../bench/measure.ts'
import { figures } from '../bench/registry.ts'
import { demoCheckpoint } from '../support/demoFigures.ts'

const main = new URL('../../electron/cli/main.ts', import.meta.url).pathname
const row: Row = {
  case: '',
  unit: 's',
  referenceName: 'again',
  ratio: 'reference/value',
  goal: { of: 'ratio', at: '>=', limit: 30 },
}

describe('bench', () => {
  it('offers on the command line what the registry has', () => {
    expect([...FIGURES]).toEqual(Object.keys(figures))
  })

  it('prints JSON and nothing else; what cannot run here has no value but a note, and is no failure', () => {
    const cache = mkdtempSync(join(tmpdir(), 'gromatic-bench-'))
    const { GROMATIC_BENCH_MODEL: _, GROMATIC_BENCH_CHECKPOINT: __, ...env } = process.env
    const run = spawnSync(process.execPath, [main, 'bench', 'prefill', 'gpu', 'convert', '--quick', '--json'], {
      env: { ...env, GROMATIC_BENCH_CACHE: cache, GROMATIC_HOME: cache },
      encoding: 'utf8',
    })
    rmSync(cache, { recursive: true })
    expect(run.status, run.stderr).toBe(0)
    const records = JSON.parse(run.stdout)
    expect(records.map(({ name }: { name: string }) => name)).toEqual([
      'prefill',
      'prefill',
      'gpu',
      'gpu',
      'gpu',
      'convert',
      'convert',
      'convert',
    ])
    for (const record of records) {
      expect(record).toMatchObject({ value: null, reference: null, ratio: null, met: null })
      expect(record.note).toContain('GROMATIC_BENCH_')
    }
    expect(records.filter(({ goal }: { goal: string }) => goal === '')).toMatchObject([
      { name: 'gpu', case: 'decode, grounded text' },
    ])
  })

  it('refuses a name that it does not have', () => {
    const run = spawnSync(process.execPath, [main, 'bench', 'coffee'], { encoding: 'utf8' })
    expect(run.status).toBe(2)
    expect(run.stderr).toContain('gromatic: USAGE: ')
  })
})

describe('records', () => {
  it('says how many times better, and whether that reaches the goal', () => {
    expect(measured('x', row, { value: 0.1, reference: 4 })).toMatchObject({ ratio: 40, goal: '>= 30x', met: true })
    expect(measured('x', row, { value: 1, reference: 4 })).toMatchObject({ ratio: 4, met: false })
    const rate: Row = { ...row, unit: 'tok/s', ratio: 'value/reference', goal: { of: 'value', at: '>=', limit: 100 } }
    expect(measured('x', rate, { value: 120 })).toMatchObject({ ratio: null, goal: '>= 100 tok/s', met: true })
    expect(measured('x', row, { value: 1 })).toMatchObject({ ratio: null, met: null })
    expect(unmeasured('x', row, 'why')).toMatchObject({ value: null, goal: '>= 30x', met: null, note: 'why' })
  })

  it('takes the middle of what was measured', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
  })
})

describe('grounded text', () => {
  it('is written token for token, with the guesses that the engine would make', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gromatic-bench-'))
    const demo = join(folder, 'demo')
    await convertCheckpoint(demoCheckpoint, demo)
    const { talks, tokens } = await groundedTalks(demo, 1)
    expect(talks).toHaveLength(4)
    const model = await loadModel(demo, { threads: 1 })
    const prompt = await model.language.extend(null, model.language.embed([1, 2, 3, 4, 5, 6, 7, 8]))
    const writer = new GroundedWriter(model.language, prompt, tokens)
    // `write` itself refuses an answer that comes out otherwise; every token but a right guess is a pass.
    for (const talk of [...talks, talks[0]!]) {
      const { passes, guessed, guessedRight } = await writer.write(talk)
      expect(guessedRight).toBeLessThanOrEqual(guessed)
      expect(passes + guessedRight).toBeGreaterThanOrEqual(talk.answer.length)
    }
    await model.close()
    rmSync(folder, { recursive: true })
  })
})

describe('GGUF', () => {
  it('is laid out as the format says', () => {
    const tensors = [{ name: 'a', shape: [64, 2], type: 'Q4_0' as const }]
    expect(tensorBytes(tensors[0]!)).toBe(4 * 18)
    const header = ggufHeader({ 'general.architecture': 'llama', size: { uint32: 7 } }, tensors)
    expect(header.length % 32).toBe(0)
    expect(header.toString('latin1', 0, 4)).toBe('GGUF')
    expect(header.readUInt32LE(4)).toBe(3)
    expect(header.readBigUInt64LE(8)).toBe(1n)
    expect(header.readBigUInt64LE(16)).toBe(2n)
    expect(header.toString('utf8', 32, 52)).toBe('general.architecture')
  })
})
