/** What the host needs of an engine process, whoever starts it: a forked Node child, Electron's utility process, a test. */
import type { EngineRequest } from '../contract/engineProtocol.ts'

export interface EngineChild {
  send(message: EngineRequest): void
  onMessage(listener: (message: unknown) => void): void
  /** Called exactly once; `reason` reads on after "The model process stopped": "(signal SIGKILL)". */
  onExit(listener: (reason: string) => void): void
  /** At once and for good: native code does not answer to requests. */
  kill(): void
}

export type EngineStarter = () => EngineChild
