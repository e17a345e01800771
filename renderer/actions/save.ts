/** Sending commands: "Saving" while one is under way, "Saved" only after its promise resolved, else what went wrong. */
import { AppError } from '../../electron/contract/errors.ts'
import { useWork } from '../stores/work.ts'

/** A sentence for a person out of anything thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Whether an error only says that the person cancelled. */
export function isCancelled(error: unknown): boolean {
  return (
    (error instanceof AppError && error.code === 'CANCELLED') || (error as { code?: unknown })?.code === 'CANCELLED'
  )
}

/** Sends a command. `undefined` means it failed and the status bar says why. */
export async function save<T>(send: () => Promise<T>): Promise<T | undefined> {
  useWork.setState(({ pending }) => ({ pending: pending + 1 }))
  try {
    const value = await send()
    useWork.setState(({ pending }) => ({ pending: pending - 1, saveError: null }))
    return value
  } catch (error) {
    useWork.setState(({ pending }) => ({ pending: pending - 1, saveError: errorText(error) }))
    return undefined
  }
}
