import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import { decodeModel } from '../../native-models/onnx/decode.ts'
import { makeReleaseCheckpoint } from './releaseCheckpoint.ts'
import { makeReleaseEngine, narrowSizes } from './releaseEngine.ts'

/** All of a graph but the numbers. */
async function shapeOf(path: string) {
  const { nodes, inputs, outputs, initializers } = decodeModel(await readFile(path))
  return { nodes, inputs, outputs, initializers: initializers.map(({ name, type, shape }) => ({ name, type, shape })) }
}

it('has the graphs that converting a checkpoint of the same sizes gives', async () => {
  const root = await mkdtemp(join(tmpdir(), 'gromatic-release-engine-'))
  const [checkpoint, converted, made] = ['checkpoint', 'converted', 'made'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ]
  try {
    await makeReleaseCheckpoint(checkpoint, { sizes: narrowSizes })
    await convertCheckpoint(checkpoint, converted, { llm: 'int4', vision: 'fp32', prefill: false })
    await makeReleaseEngine(made, { sizes: narrowSizes })
    const graphs = (await readdir(converted)).filter((name) => name.endsWith('.onnx'))
    expect(graphs).toContain('decoder.onnx')
    expect((await readdir(made)).filter((name) => name.endsWith('.onnx'))).toEqual(graphs)
    for (const name of graphs)
      expect(await shapeOf(join(made, name)), name).toEqual(await shapeOf(join(converted, name)))
    const [mine, theirs] = [await readManifest(made), await readManifest(converted)]
    expect(mine.config).toEqual(theirs.config)
    expect(mine.files.map(({ path, bytes }) => [path, bytes])).toEqual(
      theirs.files.map(({ path, bytes }) => [path, bytes]),
    )
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}, 120_000)
