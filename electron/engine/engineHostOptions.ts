/** What the engine host is told, and what it starts from. */
import type { EngineState } from '../contract/api.ts'
import type { EngineLimits, EngineProgress, WantedProvider } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import type { EngineStarter } from './engineChild.ts'
import type { Priority } from './jobQueue.ts'

export interface EngineModel {
  /** "Demo model", or the folder's name. */
  name: string
  modelDir: string
  /** The checkpoint to make `modelDir` from when it is missing or stale; null for a converted model. */
  checkpointDir: string | null
  /** What a person asked for; `auto` where nothing is said. */
  provider?: WantedProvider
  /** Where what is found out about this machine and made for it is kept; nothing is where nothing is said. */
  cacheDir?: string | null
  /** Where several processes share the machine; the whole of it where nothing is said. */
  limits?: EngineLimits
}

export interface EngineHostOptions extends Partial<typeof hostDefaults> {
  starter: EngineStarter
  onLog?: (level: 'info' | 'warn' | 'error', message: string) => void
}

export const hostDefaults = {
  /** How long a cancelled task may take to stop by itself before its process is killed. */
  cancelGraceMs: 3_000,
  /** How long a running task may be silent. One step of a 7B model in fp32 (a prompt of 600 tokens at 14 a second) takes most of a minute. */
  stepDeadlineMs: 180_000,
  /** How long loading, or converting at load, may be silent. */
  loadDeadlineMs: 600_000,
  /** How long a job apart may be silent: a step of a provider's trial, or a graph of many gigabytes that goes to a slow disk. */
  apartDeadlineMs: { probe: 120_000, prepack: 600_000 },
  /** Crashes within the window that are answered with a restart. */
  maxRestarts: 3,
  restartWindowMs: 60_000,
}

export interface RunOptions {
  priority?: Priority
  /** What the state line says meanwhile: "Looking for regions in street.jpg". */
  note?: string
  onProgress?: (progress: EngineProgress) => void
  signal?: AbortSignal | undefined
}

export const emptyState: EngineState = {
  status: 'stopped',
  modelName: '',
  modelHash: null,
  provider: '',
  secondsPerImage: null,
  note: 'The model is not loaded yet.',
  progress: null,
}

export const cancelledError = () => new AppError('CANCELLED', 'Cancelled.')
