/** How many engine processes `annotate` uses, and how far it computes ahead of what it stores. */
import { existsSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { physicalCores } from '../../native-models/inference/cores.ts'
import type { WantedProvider } from '../contract/engineProtocol.ts'
import type { EngineModel } from '../engine/engineHost.ts'
import { type Context, loadModel } from './context.ts'

export interface WorkerPlan {
  /** engine processes; 0 is one process and nothing computed ahead */
  workers: number
  /** images begun before their turn */
  ahead: number
}

/** Below it the steps are too short for several threads, and no graphics card is tried unasked. A larger model keeps all threads busy by itself. */
const SMALL_MODEL_BYTES = 256 << 20
/** What a process takes beside the weights: the runtime, activations of one image, pictures being decoded. */
const PROCESS_BYTES = 600e6
/** Images of a list are seen once: little need be remembered of them. */
const IMAGE_MEMORY_BYTES = 128e6

/**
 * One process a physical core for a small model on the CPU, in half of the memory that is free, and one with all threads for
 * others. The short steps of a small model keep 1.7 of two threads busy, processes of one thread all of their cores.
 */
export function planWorkers(about: {
  modelBytes: number
  provider: WantedProvider
  cores: number
  freeBytes: number
  asked?: number | undefined
}): WorkerPlan {
  const { modelBytes, provider, cores, freeBytes, asked } = about
  const fitting = Math.floor(freeBytes / 2 / (2 * modelBytes + PROCESS_BYTES))
  const alone = modelBytes >= SMALL_MODEL_BYTES || !['auto', 'cpu'].includes(provider)
  const workers = asked ?? (alone ? 1 : Math.max(1, Math.min(cores, fitting)))
  // One in work and one waiting in each process, so that none is ever idle.
  return { workers, ahead: 2 * workers }
}

/** The engines of one `annotate`: none until there is something for them to do. */
export class AnnotateEngines {
  readonly #context: Context
  readonly #model: string
  readonly #asked: number | undefined
  #plan: WorkerPlan | null = null

  constructor(context: Context, { model, workers }: { model: string; workers?: number }) {
    this.#context = context
    this.#model = model
    this.#asked = workers
  }

  /** Images to begin before their turn; none before the model is there. */
  get ahead(): number {
    return this.#plan?.ahead ?? 0
  }

  /** Loads the model, once. @throws whatever loading fails with */
  async ready(): Promise<void> {
    if (this.#plan !== null) return
    const { models, workers } = this.#context.services
    const model = await models.resolve(this.#model)
    const plan = planWorkers({
      modelBytes: await bytesOf(model),
      provider: model.provider ?? 'auto',
      cores: physicalCores(),
      freeBytes: process.availableMemory(),
      asked: this.#asked,
    })
    if (plan.workers > 1) {
      const threads = Math.max(1, Math.floor(physicalCores() / plan.workers))
      const limits = { threads, imageMemoryBytes: IMAGE_MEMORY_BYTES }
      // The first prepares, and mends, what all of them load.
      const others = () => workers.grow(plan.workers, { ...model, checkpointDir: null, limits })
      if (existsSync(model.modelDir)) others()
      await loadModel(this.#context, this.#model, limits)
      others()
    } else await loadModel(this.#context, this.#model)
    this.#plan = plan
  }
}

/** What a model's files take. A shipped checkpoint is half as large as what is made of it. */
async function bytesOf({ modelDir, checkpointDir }: EngineModel): Promise<number> {
  const dir = checkpointDir ?? modelDir
  const names = await readdir(dir)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(dir, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0) * (checkpointDir === null ? 1 : 2)
}
