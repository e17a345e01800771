/** The command line as a process of its own, which ends with this one. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { cacheDir } from './places.ts'

const ENTRY = join(import.meta.dirname, '../../electron/cli/main.ts')

/**
 * Runs a command to its end, in a home of its own: what a person has set must not change what is measured.
 * @throws with the last line that it said when it fails
 */
export async function runCli(args: string[], onStart: (pid: number) => void = () => {}): Promise<void> {
  const child = spawn(process.execPath, [ENTRY, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, GROMATIC_HOME: join(cacheDir(), 'home') },
  })
  const stop = () => child.kill()
  process.on('exit', stop)
  let said = ''
  child.stderr.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-2000)
  })
  onStart(child.pid!)
  const code = await new Promise<number | null>((resolve) => child.on('exit', resolve))
  process.off('exit', stop)
  if (code !== 0) throw new Error(`${args[0]} ended with exit code ${code}: ${said.trim().split('\n').at(-1)}`)
}
