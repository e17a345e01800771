import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** Physical cores that this process may use: hyper-threads slow matrix products down. */
export function physicalCores(): number {
  const available = availableParallelism()
  try {
    const cores = new Set<string>()
    let socket = ''
    for (const line of readFileSync('/proc/cpuinfo', 'utf8').split('\n')) {
      if (line.startsWith('physical id')) socket = line
      if (line.startsWith('core id')) cores.add(socket + line)
    }
    if (cores.size > 0) return Math.min(cores.size, available)
  } catch {
    // no such file outside Linux
  }
  return process.arch === 'x64' ? Math.max(1, Math.ceil(available / 2)) : available
}
