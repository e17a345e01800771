import { codeOf } from './errors.ts'

/** Whether a process is there, whoever's it is. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) !== 'ESRCH' // EPERM: another user's, but there
  }
}
