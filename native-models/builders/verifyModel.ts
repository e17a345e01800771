import { lstat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type EngineManifest, readManifest, verifyManifest } from '../checkpoint/manifest.ts'
import { type GromaConfig, parseGromaConfig } from '../groma/config.ts'
import { type Dimension, decodeOutline, ELEMENT_BYTES, type ModelOutline } from '../onnx/proto.ts'
import { llmFormats, type PromptFormat } from './llmFormats.ts'
import {
  ALL_STATES_FILE,
  CONFIG_FILE,
  dataFile,
  embeddingsFile,
  GRAPHS,
  GraphFacts,
  graphFile,
  LLM_PRECISIONS,
  PREFILL_GRAPH,
} from './modelFiles.ts'

/** One reason why an engine folder cannot be used. */
export interface ModelProblem {
  path: string
  message: string
}

export interface VerifyOptions {
  /** false checks names, kinds, sizes and shapes only */
  hashes?: boolean
  onProgress?: (doneBytes: number, totalBytes: number) => void
  signal?: AbortSignal
}

/**
 * Checks an engine folder: every file against the manifest, then that the graphs fit the configuration and read only
 * their own data files, inside their bounds.
 * @returns what is wrong, [] when nothing is
 * @throws GromaError MODEL_INVALID when there is no readable manifest, CANCELLED
 */
export async function verifyModel(dir: string, options: VerifyOptions = {}): Promise<ModelProblem[]> {
  const manifest = await readManifest(dir)
  const problems: ModelProblem[] = await verifyManifest(dir, options)
  const listed = new Set(manifest.files.map(({ path }) => path))
  for (const path of requiredFiles(manifest)) {
    if (!listed.has(path)) problems.push({ path, message: `${path}: is not in the manifest` })
  }
  return problems.length > 0 ? problems : verifyGraphs(dir, manifest)
}

function requiredFiles({ llm }: EngineManifest): string[] {
  const graphs = GRAPHS.flatMap((name) => [graphFile(name), dataFile(name)])
  return [...graphs, ALL_STATES_FILE, embeddingsFile(llm), CONFIG_FILE, 'tokenizer.model']
}

async function verifyGraphs(dir: string, manifest: EngineManifest): Promise<ModelProblem[]> {
  const facts = GraphFacts.safeParse(manifest.config.engine)
  if (!facts.success)
    return [{ path: 'manifest.json', message: `manifest.json: engine: ${facts.error.issues[0]?.message}` }]
  const config = parseGromaConfig(JSON.parse(await readFile(join(dir, CONFIG_FILE), 'utf8')), CONFIG_FILE)
  const sizeOf = new Map(manifest.files.map(({ path, bytes }) => [path, bytes]))
  const problems: ModelProblem[] = []
  const check = async (path: string, data: string, expected: ExpectedShapes) => {
    try {
      const outline = decodeOutline(await readFile(join(dir, path)))
      const reasons = [...badData(outline, data, sizeOf.get(data) ?? 0), ...badShapes(outline, expected)]
      problems.push(...reasons.slice(0, 3).map((reason) => ({ path, message: `${path}: ${reason}` })))
    } catch (error) {
      problems.push({ path, message: `${path}: ${(error as Error).message}` })
    }
  }
  const expected = expectedShapes(config, facts.data, promptFormat(manifest, config.llm))
  for (const name of GRAPHS) await check(graphFile(name), dataFile(name), expected[name] ?? {})
  await check(ALL_STATES_FILE, dataFile('vision-encoder'), expected['vision-encoder'] ?? {})
  if (sizeOf.has(graphFile(PREFILL_GRAPH))) {
    await check(graphFile(PREFILL_GRAPH), dataFile(PREFILL_GRAPH), expected.decoder ?? {})
  }
  const path = embeddingsFile(manifest.llm)
  const width = ELEMENT_BYTES[path.endsWith('.f16') ? 'float16' : 'float32']
  const table = config.vocabSize * config.llm.hiddenSize * width
  const { size } = await lstat(join(dir, path))
  if (size !== table) problems.push({ path, message: `${path}: has ${size} bytes instead of ${table}` })
  return problems
}

/** How the decoder of a model reads its prompt. */
export function promptFormat({ llm }: Pick<EngineManifest, 'llm'>, sizes: GromaConfig['llm']): PromptFormat {
  const known = LLM_PRECISIONS.find((name) => name === llm)
  return known ? llmFormats(known, sizes).prompt : 'float32'
}

type ExpectedShapes = Record<string, readonly Dimension[]>

/** Inputs and outputs that show whether a graph belongs to a configuration. */
function expectedShapes(
  { vision, detector, llm, vocabSize }: GromaConfig,
  { imageSize, side, hiddenStates }: GraphFacts,
  prompt: PromptFormat,
): Partial<Record<(typeof GRAPHS)[number], ExpectedShapes>> {
  const state = [1 + side * side, vision.hiddenSize]
  const layers = Array.from({ length: llm.layerCount }, (_, layer) => layer)
  return {
    'vision-encoder': {
      pixel_values: [1, 3, imageSize, imageSize],
      ...Object.fromEntries(hiddenStates.map((k) => [`hidden_state.${k}`, state])),
    },
    'proposal-head': { 'hidden_state.0': state, boxes_cxcywh: [detector.proposalCount, 4] },
    'image-tokens': { hidden_state: state, image_tokens: [(side * side) / 4, llm.hiddenSize] },
    'region-maps': { 'hidden_state.0': state },
    'region-head': { boxes_cxcywh: ['N', 4], region_tokens: ['N', llm.hiddenSize] },
    decoder: {
      inputs_embeds: ['B', 'T', llm.hiddenSize],
      logits: ['R', vocabSize],
      ...(prompt === 'int8' ? { 'prefix_key_scale.0': [llm.kvHeadCount, 1, 1, 'P'] } : {}),
      ...Object.fromEntries(layers.map((i) => [`present_key.${i}`, [llm.kvHeadCount, 'B', 'T', llm.headSize]])),
    },
  }
}

function badShapes({ inputs, outputs }: ModelOutline, expected: ExpectedShapes): string[] {
  const found = new Map([...inputs, ...outputs].map(({ name, shape }) => [name, shape]))
  return Object.entries(expected).flatMap(([name, shape]) => {
    const actual = found.get(name)
    if (actual?.join() === shape.join()) return []
    return [`${name} is ${actual ? `[${actual.join(', ')}]` : 'missing'}, not [${shape.join(', ')}]`]
  })
}

function badData({ externalTensors }: ModelOutline, data: string, bytes: number): string[] {
  return externalTensors.flatMap(({ name, shape, type, location, offset, length }) => {
    if (location !== data) return [`${name} lies in ${JSON.stringify(location)} instead of ${data}`]
    const wanted = shape.reduce((product, extent) => product * extent, ELEMENT_BYTES[type])
    const inside = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= bytes
    return inside && length === wanted ? [] : [`${name} reaches outside ${data}`]
  })
}
