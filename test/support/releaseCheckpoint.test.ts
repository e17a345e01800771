import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openCheckpoint } from '../../native-models/checkpoint/checkpoint.ts'
import { parseGromaConfig } from '../../native-models/groma/config.ts'
import { loadTokenizer } from '../../native-models/preprocess/tokenizer.ts'
import { gromaTensors } from './gromaTensors.ts'
import { formulaTensor } from './referenceWeights.ts'
import { makeReleaseCheckpoint, releaseSizes } from './releaseCheckpoint.ts'

const { vision, detector, llm, region } = releaseSizes
const small = {
  vision: { ...vision, width: 64, layers: 3, mlp: 96 },
  detector,
  llm: { ...llm, width: 64, heads: 2, kvHeads: 2, headSize: 32, layers: 2, ffn: 96 },
  region: { ...region, width: 32 },
}

it.each(['torch', 'safetensors'] as const)(
  '%s: shards in the layout of the release, values of the formula',
  async (format) => {
    const root = await mkdtemp(join(tmpdir(), 'gromatic-release-'))
    try {
      await makeReleaseCheckpoint(root, { format, sizes: small, shardBytes: 4e6 })
      const checkpoint = await openCheckpoint(root)
      try {
        expect(new Set([...checkpoint.tensors.values()].map(({ file }) => file)).size).toBeGreaterThan(2)
        expect(parseGromaConfig(checkpoint.config).vocabSize).toBe(32_114)
        for (const { name, shape, scale, offset } of gromaTensors(small)) {
          const expected = formulaTensor(7, name, shape, scale, offset)
          const found = await checkpoint.readFloat32(name)
          expect([name, Buffer.compare(Buffer.from(found.buffer), Buffer.from(expected.buffer))]).toEqual([name, 0])
        }
        const tokenizer = await loadTokenizer(root)
        expect(tokenizer.vocabSize).toBe(32_114)
        expect(tokenizer.tokens.regions.length).toBe(100)
        const added = JSON.parse(await readFile(join(root, 'added_tokens.json'), 'utf8'))
        expect(Math.max(...Object.values<number>(added))).toBe(32_113)
      } finally {
        await checkpoint.close()
      }
    } finally {
      await rm(root, { recursive: true, force: true })
    }
  },
)
