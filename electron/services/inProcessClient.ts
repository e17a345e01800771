/** The contract's client with nothing in between: every input is parsed here, whoever sent it. */
import type { z } from 'zod'
import { api, type CallName, type Client } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import type { EventHub } from './eventHub.ts'
import type { Handlers } from './handlers.ts'

type AnyHandler = (input: unknown, context: { signal: AbortSignal; progress: (value: unknown) => void }) => unknown

/** Calls handlers by name. @throws INVALID_INPUT for unknown names and inputs that do not fit */
export function createInProcessClient(handlers: Handlers, events: EventHub): Client {
  const invoke = async (
    name: string,
    input: unknown,
    isJob: boolean,
    options: { onProgress?: (progress: unknown) => void; signal?: AbortSignal },
  ): Promise<unknown> => {
    if (!Object.hasOwn(api, name)) throw new AppError('INVALID_INPUT', `There is no call named "${name}".`)
    const stated = api[name as CallName]
    if ((stated.kind === 'job') !== isJob) {
      throw new AppError('INVALID_INPUT', isJob ? `"${name}" is not a job: call it.` : `"${name}" is a job: run it.`)
    }
    const parsed = stated.input.safeParse(input ?? {})
    if (!parsed.success) throw new AppError('INVALID_INPUT', `${name}: ${plainIssues(parsed.error)}`)
    if (options.signal?.aborted) throw new AppError('CANCELLED', 'Cancelled.')
    const context = {
      signal: options.signal ?? new AbortController().signal,
      progress: options.onProgress ?? (() => {}),
    }
    return await (handlers[name as CallName] as AnyHandler)(parsed.data, context)
  }
  const client = {
    call: (name: string, input: unknown) => invoke(name, input, false, {}),
    run: (name: string, input: unknown, options = {}) => invoke(name, input, true, options),
    on: events.on.bind(events),
    imageUrl: (imageId: number, width?: number) => `/images/${imageId}${width === undefined ? '' : `?width=${width}`}`,
    onConnection(listener: (connected: boolean) => void) {
      listener(true)
      return () => {}
    },
  }
  return client as unknown as Client
}

/** A schema's complaints in one line: "bboxXywh.2: must be greater than 0". */
export function plainIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 5)
    .map((issue) => {
      const where = issue.path.map(String).join('.')
      return where === '' ? issue.message : `${where}: ${issue.message}`
    })
    .join('; ')
}
