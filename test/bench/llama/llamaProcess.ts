/** The process that holds llama.cpp: `llamaProcess.ts GGUF THREADS`; works off the requests of llama.ts one by one. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LlamaReply, LlamaRequest } from './llama.ts'

// The package is there only where the bench has installed it, so its types are said here: what is used of them.
interface Sequence {
  clearHistory(): Promise<void>
  eraseContextTokenRanges(ranges: { start: number; end: number }[]): Promise<void>
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>
  evaluate(tokens: number[], options: { temperature: 0; yieldEogToken: true }): AsyncIterable<number>
  readonly nextTokenIndex: number
}
interface LlamaModule {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{ createContext(options: object): Promise<{ getSequence(): Sequence }> }>
  }>
}

const CONTEXT_TOKENS = 1024
const [path, threadCount] = process.argv.slice(2)
const threads = Number(threadCount)
const entry = join(import.meta.dirname, 'node_modules', 'node-llama-cpp', 'dist', 'index.js')
const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaModule
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  progressLogs: false,
  maxThreads: threads,
  logLevel: 'error',
})
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 })
// A batch that holds the whole prompt, so that its weights are read once: the best that it can do.
const context = await model.createContext({ contextSize: CONTEXT_TOKENS, batchSize: CONTEXT_TOKENS, threads })
const sequence = context.getSequence()
let promptLength = 0

/** Words of the vocabulary's plain part, none of them special. */
const promptOf = (count: number) => Array.from({ length: count }, (_, i) => 300 + ((i * 7919) % 31_000))

async function timed(work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return (performance.now() - startedAt) / 1000
}

async function handle(request: LlamaRequest): Promise<LlamaReply> {
  if (request.type === 'prefill') {
    await sequence.clearHistory()
    promptLength = request.tokens
    return { seconds: await timed(() => sequence.evaluateWithoutGeneratingNewTokens(promptOf(request.tokens))) }
  }
  if (sequence.nextTokenIndex > promptLength)
    await sequence.eraseContextTokenRanges([{ start: promptLength, end: sequence.nextTokenIndex }])
  return {
    seconds: await timed(async () => {
      let count = 0
      for await (const _ of sequence.evaluate([5], { temperature: 0, yieldEogToken: true }))
        if (++count >= request.tokens) break
    }),
  }
}

process.on('message', (request: LlamaRequest) => {
  void handle(request).then((reply) => process.send!(reply))
})
process.on('disconnect', () => process.exit(0))
process.send!({ type: 'ready' })
