/** Whether WebGPU runs here: a driver may crash who asks, so a process of its own does. */
import { spawnSync } from 'node:child_process'

const probe = new URL('../../native-models/inference/probe.ts', import.meta.url).href
const script = `import { tinyRefusal } from ${JSON.stringify(probe)}; process.stdout.write(JSON.stringify(await tinyRefusal('webgpu', 1)))`

/** Why WebGPU cannot be tested on this machine; null when it can. */
export function webgpuMissing(): string | null {
  const { status, stdout, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  if (status !== 0) return `the process that tried it ended (${signal ?? `exit code ${status}`})`
  return JSON.parse(stdout.slice(stdout.lastIndexOf('\n') + 1)) as string | null
}
