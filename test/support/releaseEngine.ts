/**
 * An engine folder of the release's shapes within seconds, for figures of speed where no checkpoint of 14 GB is at hand: the graphs
 * that `models convert --llm int4 --vision fp32` makes, but for the decoder for long prompts on a CPU, with weights
 * cut from one stretch of made-up numbers. Run by itself: `node test/support/releaseEngine.ts OUT_DIR [small]`; 7 GB.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { planModel } from '../../native-models/builders/buildGraphs.ts'
import type { Precision } from '../../native-models/builders/modelFiles.ts'
import { Weights } from '../../native-models/builders/weights.ts'
import type { Checkpoint } from '../../native-models/checkpoint/checkpoint.ts'
import { writeManifest } from '../../native-models/checkpoint/manifest.ts'
import { parseGromaConfig } from '../../native-models/groma/config.ts'
import { readPixelSettings } from '../../native-models/preprocess/pixels.ts'
import { type GromaSizes, gromaTensors } from './gromaTensors.ts'
import type { ReferenceWeights } from './referenceWeights.ts'
import { releaseConfig, releaseSizes, writeTokenizer } from './releaseCheckpoint.ts'

/** Numbers that all tensors are cut from; a slice of rows (16 MiB) fits in. */
const POOL_VALUES = 8 << 20

/** Half the release's picture and a seventieth of its weights: to see that everything runs. */
export const smallSizes: GromaSizes = {
  ...releaseSizes,
  vision: { ...releaseSizes.vision, width: 256, layers: 4, mlp: 1024 },
  llm: { ...releaseSizes.llm, width: 2048, heads: 16, kvHeads: 16, layers: 2, ffn: 2816 },
  region: { ...releaseSizes.region, width: 256 },
}

/** A language model that a test has time for. */
export const narrowSizes: GromaSizes = {
  ...smallSizes,
  llm: { ...smallSizes.llm, width: 256, heads: 4, kvHeads: 2, headSize: 64, ffn: 384 },
}

/** @param outDir must not exist yet */
export async function makeReleaseEngine(
  outDir: string,
  { sizes = releaseSizes, precision = { llm: 'int4', vision: 'fp32' } as Precision } = {},
): Promise<void> {
  await mkdir(outDir, { recursive: true })
  const written = releaseConfig(sizes)
  const config = parseGromaConfig(written, 'config.json')
  await writeTokenizer(outDir)
  await writeFile(join(outDir, 'config.json'), `${JSON.stringify(written, null, 2)}\n`)
  const settings = await readdir(outDir)
  const { imageSize } = await readPixelSettings(outDir)
  const weights = new Weights(poolCheckpoint(gromaTensors(sizes)))
  const { plan, facts } = await planModel({ weights, config, precision, prefill: false, imageSize })
  const { paths, hashed } = await plan.write(outDir)
  const content = {
    createdFrom: 'made up',
    createdAt: new Date().toISOString(),
    ...precision,
    config: { groma: config, engine: facts },
  }
  await writeManifest(outDir, content, [...settings, ...paths], { known: hashed })
}

/** A checkpoint that lies nowhere: every tensor is a view of one stretch of numbers, in -scale..scale around its offset. */
function poolCheckpoint(tensors: ReferenceWeights['tensors']): Checkpoint {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const pools = new Map<string, Float32Array>()
  const poolOf = (scale: number, offset: number): Float32Array => {
    const key = `${scale} ${offset}`
    const known = pools.get(key)
    if (known) return known
    let state = 7
    const made = new Float32Array(POOL_VALUES)
    for (let i = 0; i < made.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      made[i] = (state / 2 ** 31) * scale + offset
    }
    pools.set(key, made)
    return made
  }
  const find = (name: string) => {
    const found = byName.get(name)
    if (!found) throw new RangeError(`there is no tensor ${name}`)
    return found
  }
  /** from one of a few places: tensors differ */
  const cut = (name: string, count: number): Float32Array => {
    const { scale, offset } = find(name)
    const pool = poolOf(scale, offset)
    if (count <= pool.length / 2) {
      const places = 4
      const place = (name.length * 31 + name.charCodeAt(name.length - 8)) % places
      return pool.subarray((place * pool.length) / 2 / places, (place * pool.length) / 2 / places + count)
    }
    const values = new Float32Array(count)
    for (let done = 0; done < count; done += pool.length) {
      values.set(pool.subarray(0, Math.min(pool.length, count - done)), done)
    }
    return values
  }
  const countOf = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1)
  return {
    dir: 'made up',
    config: {},
    tensors: new Map(tensors.map(({ name, shape }) => [name, { name, shape, dtype: 'F32', file: 'made up' }])),
    has: (name) => byName.has(name),
    readFloat32: async (name) => cut(name, countOf(find(name).shape)),
    readRows: async (name, _start, count) => cut(name, count * countOf(find(name).shape.slice(1))),
    where: () => null,
    close: async () => {},
  }
}

if (import.meta.main) {
  const [outDir, size] = process.argv.slice(2)
  if (!outDir) {
    console.error('node test/support/releaseEngine.ts OUT_DIR [small]')
    process.exit(2)
  }
  await makeReleaseEngine(outDir, size === 'small' ? { sizes: smallSizes } : {})
}
