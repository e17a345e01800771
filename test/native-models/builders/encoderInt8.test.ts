import { expect, it } from 'vitest'
import { buildVisionEncoder, INT8_FROM_WIDTH } from '../../../native-models/builders/visionEncoder.ts'
import { Weights } from '../../../native-models/builders/weights.ts'
import { parseGromaConfig } from '../../../native-models/groma/config.ts'
import { floats } from '../../../native-models/inference/session.ts'
import { formulaCheckpoint } from '../../support/formulaCheckpoint.ts'
import { gromaTensors } from '../../support/gromaTensors.ts'
import { releaseConfig, releaseSizes } from '../../support/releaseCheckpoint.ts'
import { noise, runGraph } from '../onnx/runGraph.ts'

const LAYERS = 3
const IMAGE_SIZE = 112
const TOKENS = 1 + (IMAGE_SIZE / 14) ** 2

/** The last hidden state of an encoder so wide, of a picture of noise. */
async function lastState(width: number, precision: 'fp32' | 'int8'): Promise<Float32Array> {
  const sizes = { ...releaseSizes, vision: { ...releaseSizes.vision, width, layers: LAYERS, mlp: 4 * width } }
  const tensors = gromaTensors(sizes).filter(({ name }) => name.startsWith('perceiver.vis_encoder.'))
  const weights = new Weights(formulaCheckpoint({ seed: 7, tensors })).at('perceiver.vis_encoder')
  const { vision } = parseGromaConfig(releaseConfig(sizes), 'config.json')
  const state = await runGraph(
    async (g) => (await buildVisionEncoder(g, weights, vision, IMAGE_SIZE, precision)).at(-1)!,
    { pixel_values: floats(noise(3 * IMAGE_SIZE ** 2), 1, 3, IMAGE_SIZE, IMAGE_SIZE) },
    [TOKENS, width],
  )
  return state.data as Float32Array
}

async function relativeError(width: number): Promise<number> {
  const [exact, rounded] = [await lastState(width, 'fp32'), await lastState(width, 'int8')]
  const squares = (numbers: Float32Array) => numbers.reduce((sum, value) => sum + value * value, 0)
  return Math.sqrt(squares(rounded.map((value, i) => value - exact[i]!)) / squares(exact))
}

it('a wide encoder in int8 stays within 1.5% of float', async () => {
  const error = await relativeError(INT8_FROM_WIDTH)
  expect(error).toBeGreaterThan(0)
  expect(error).toBeLessThan(0.015)
})

it('a narrow one is left in float', async () => {
  expect(await relativeError(128)).toBe(0)
})
