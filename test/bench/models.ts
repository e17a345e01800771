/** The models that figures are measured on: the demo model, and one of the release's shapes with weights that mean nothing. */
import { existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import { demoCheckpoint } from '../support/demoFigures.ts'
import { makeReleaseCheckpoint } from '../support/releaseCheckpoint.ts'
import { type BenchContext, Missing } from './figure.ts'
import { cacheDir, requireRoom } from './places.ts'

const CHECKPOINT_BYTES = 15e9
const ENGINE_BYTES = 12e9

/**
 * A checkpoint of the release's shapes: `GROMATIC_BENCH_CHECKPOINT`, or one made in the cache.
 * @throws Missing when there is none and it may not or cannot be made
 */
export async function releaseCheckpoint({ quick, log }: BenchContext): Promise<string> {
  const given = process.env.GROMATIC_BENCH_CHECKPOINT
  if (given !== undefined) return requireFile(given, 'config.json', 'GROMATIC_BENCH_CHECKPOINT')
  const made = join(cacheDir(), 'checkpoint-bin')
  if (existsSync(join(made, 'config.json'))) return made
  if (quick) {
    throw new Missing(
      'No checkpoint of the release is at hand: set GROMATIC_BENCH_CHECKPOINT to one, or run without --quick to make one of its shapes (13.5 GB).',
    )
  }
  requireRoom(cacheDir(), CHECKPOINT_BYTES, "A checkpoint of the release's shapes")
  log(`making a checkpoint of the release's shapes: ${made}`)
  const partial = `${made}.part`
  await rm(partial, { recursive: true, force: true })
  await makeReleaseCheckpoint(partial, { format: 'torch' })
  await rename(partial, made)
  return made
}

/**
 * An int4 engine folder of the release's shapes: `GROMATIC_BENCH_MODEL`, or one converted into the cache.
 * @throws Missing when there is none and it may not or cannot be made
 */
export async function releaseModel(context: BenchContext): Promise<string> {
  const given = process.env.GROMATIC_BENCH_MODEL
  if (given !== undefined) return requireFile(given, 'manifest.json', 'GROMATIC_BENCH_MODEL')
  const made = join(cacheDir(), 'engine-int4')
  if (existsSync(join(made, 'manifest.json'))) return made
  if (context.quick) {
    throw new Missing(
      'No engine folder of the release is at hand: set GROMATIC_BENCH_MODEL to one (models convert --llm int4 --vision int8), or run without --quick to make one.',
    )
  }
  const checkpoint = await releaseCheckpoint(context)
  requireRoom(cacheDir(), ENGINE_BYTES, 'An int4 engine folder')
  context.log(`converting it to int4: ${made}`)
  await convertCheckpoint(checkpoint, made, { llm: 'int4', vision: 'int8' })
  return made
}

/** The release's model where it is at hand or may be made, else the demo model; `isRelease` says which. */
export async function releaseOrDemoModel(context: BenchContext): Promise<{ modelDir: string; note: string }> {
  try {
    return { modelDir: await releaseModel(context), note: '7B int4' }
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    return { modelDir: await demoModel(context), note: `the demo model instead of 7B: ${error.message}` }
  }
}

/** The demo model's engine folder, in the cache; made anew when the shipped checkpoint or the converter has changed. */
export async function demoModel({ log }: Pick<BenchContext, 'log'>): Promise<string> {
  const made = join(cacheDir(), 'engine-demo')
  log('converting the demo model')
  await rm(made, { recursive: true, force: true })
  await convertCheckpoint(demoCheckpoint, made)
  return made
}

/** What a model is made of, for a note. */
export async function precisionText(modelDir: string): Promise<string> {
  const { llm, vision } = await readManifest(modelDir)
  return `LLM ${llm}, vision ${vision}`
}

function requireFile(dir: string, file: string, variable: string): string {
  if (!existsSync(join(dir, file))) throw new Missing(`${variable} names ${dir}, which has no ${file}.`)
  return dir
}
