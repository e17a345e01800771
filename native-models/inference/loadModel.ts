import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  ALL_STATES_FILE,
  CONFIG_FILE,
  embeddingsFile,
  GRAPHS,
  GraphFacts,
  type GraphName,
  graphFile,
  PREFILL_GRAPH,
} from '../builders/modelFiles.ts'
import { promptFormat, verifyModel } from '../builders/verifyModel.ts'
import { type EngineManifest, readManifest } from '../checkpoint/manifest.ts'
import { asGromaError, GromaError } from '../errors.ts'
import { type GromaConfig, parseGromaConfig } from '../groma/config.ts'
import { type PixelSettings, readPixelSettings } from '../preprocess/pixels.ts'
import { type GromaTokenizer, loadTokenizer, requireFit } from '../preprocess/tokenizer.ts'
import { headSizesOf } from './deviceGraph.ts'
import { EmbeddingTable } from './embeddingTable.ts'
import { collectForTensors, collectGarbage } from './garbage.ts'
import { nextTurn } from './generate.ts'
import { HostKv } from './hostKv.ts'
import { LanguageModel } from './languageModel.ts'
import { DeferredSession, type GraphSource, openDecoderOnDevice, openGraph, openOnCpu } from './openGraph.ts'
import type { Placement } from './placement.ts'
import { prepackedFile } from './prepack.ts'
import { GraphSession } from './session.ts'

/** Everything of an engine folder, in memory. */
export interface LoadedModel {
  dir: string
  manifest: EngineManifest
  config: GromaConfig
  facts: GraphFacts
  pixels: PixelSettings
  tokenizer: GromaTokenizer
  graphs: Readonly<Record<Exclude<GraphName, 'decoder'>, GraphSession>>
  /** The vision encoder with all its hidden states, loaded when first asked for. */
  allStates: () => Promise<GraphSession>
  language: LanguageModel
  /** Opens the graphs that wait for their first use, one a turn. @throws GromaError MODEL_INVALID, OUT_OF_MEMORY, CANCELLED */
  openRest: (signal?: AbortSignal) => Promise<void>
  close: () => Promise<void>
}

export interface LoadOptions {
  threads: number
  /** where graphs run; on the processor by default */
  placement?: Placement | undefined
  /** the folder with graphs laid out for this machine, see prepack.ts */
  prepackedDir?: string | null | undefined
  /**
   * For large models: only what proposals need is opened at once, the rest by its first use or `openRest`, and graphs that run
   * once per picture give their memory back.
   */
  deferred?: boolean | undefined
  /** told when a device fails and the processor goes on */
  onWarning?: ((message: string) => void) | undefined
  /** told when a device fails whose loss only loading the model anew mends */
  onDeviceLost?: (() => void) | undefined
  signal?: AbortSignal | undefined
  /** which graph is being loaded, and the share of them that is done, 0..1 */
  onProgress?: ((step: string, fraction: number) => void) | undefined
}

/**
 * Opens an engine folder: all files against the manifest (sizes, not hashes), then tokenizer and graphs.
 * @throws GromaError MODEL_INVALID naming the file, CANCELLED between two graphs
 */
export async function loadModel(dir: string, options: LoadOptions): Promise<LoadedModel> {
  const { threads, placement = {}, prepackedDir = null, deferred = false, signal, onProgress } = options
  collectForTensors(deferred ? 'soon' : 'seldom')
  const manifest = await readManifest(dir)
  const [problem] = await verifyModel(dir, { hashes: false, ...(signal ? { signal } : {}) })
  if (problem) throw new GromaError('MODEL_INVALID', `${dir}: ${problem.message}`)
  const facts = parseFacts(manifest, dir)
  const configPath = join(dir, CONFIG_FILE)
  const config = parseGromaConfig(await readJson(configPath), configPath)
  const tokenizer = await loadTokenizer(dir)
  requireFit(config, tokenizer, dir)

  const source: GraphSource = {
    dir,
    threads,
    placement,
    headSizes: headSizesOf(config),
    decoderShape: config.llm,
    frugal: deferred,
    prepacked: (graph) => prepackedFile(prepackedDir, graph),
    onWarning: options.onWarning ?? (() => {}),
    onDeviceLost: options.onDeviceLost ?? (() => {}),
    deviceFault: { reason: null },
  }
  const requireWanted = () => {
    if (signal?.aborted) throw new GromaError('CANCELLED', 'loading the model was cancelled')
  }
  const opened: { release: () => Promise<void> }[] = []
  const close = async (): Promise<void> => {
    await Promise.all(opened.splice(0).map((session) => session.release()))
  }
  try {
    const sessions = {} as Record<GraphName, DeferredSession>
    for (const [index, name] of GRAPHS.entries()) {
      requireWanted()
      onProgress?.(name, index / GRAPHS.length)
      sessions[name] = new DeferredSession(() => openGraph(source, name))
      opened.push(sessions[name])
      if (name === 'decoder' && placement.decoder?.provider === 'webgpu') continue // see below
      if (!deferred || FOR_PROPOSALS.has(name)) await sessions[name].ready()
    }
    if (deferred) collectGarbage() // of large model files that were read
    onProgress?.('ready', 1)
    const { decoder, ...graphs } = sessions
    const onDevice = await openDecoderOnDevice(source)
    if (onDevice) opened.push(onDevice.session)
    const prefill =
      hasPrefill(manifest) && !onDevice ? new DeferredSession(() => openOnCpu(source, PREFILL_GRAPH)) : null
    if (prefill) opened.push(prefill)
    const table = new EmbeddingTable(join(dir, embeddingsFile(manifest.llm)), config.vocabSize, config.llm.hiddenSize)
    opened.push({ release: async () => table.close() })
    const allStates = new DeferredSession(() => GraphSession.open(join(dir, ALL_STATES_FILE), threads))
    opened.push(allStates)
    return {
      dir,
      manifest,
      config,
      facts,
      pixels: { ...(await readPixelSettings(dir)), imageSize: facts.imageSize },
      tokenizer,
      graphs,
      allStates: () => allStates.ready(),
      language: new LanguageModel(onDevice?.session ?? decoder, table, config.llm, {
        kv: onDevice?.kv ?? new HostKv(config.llm, promptFormat(manifest, config.llm)),
        prefill: prefill ?? undefined,
      }),
      openRest: async (stop) => {
        for (const [name, session] of Object.entries(sessions)) {
          await nextTurn(stop)
          if (name !== 'decoder' || onDevice === null) await session.ready()
        }
        await nextTurn(stop)
        await prefill?.ready()
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** From a picture to its boxes. */
const FOR_PROPOSALS: ReadonlySet<GraphName> = new Set(['vision-encoder', 'proposal-head'])

function hasPrefill({ files }: EngineManifest): boolean {
  return files.some(({ path }) => path === graphFile(PREFILL_GRAPH))
}

function parseFacts(manifest: EngineManifest, dir: string): GraphFacts {
  const parsed = GraphFacts.safeParse(manifest.config.engine)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new GromaError('MODEL_INVALID', `${dir}: manifest: engine.${issue?.path.join('.')}: ${issue?.message}`)
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw asGromaError(error, 'MODEL_INVALID', path)
  }
}
