import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { physicalCores } from '../../native-models/inference/cores.ts'

/** What the figures were measured on, in one line. */
export function machineText(): string {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GB`
  return `${cpus()[0]?.model.trim() ?? process.arch}, ${physicalCores()} cores${vectorText()}, ${memory}, ${process.platform}, Node ${process.versions.node}`
}

/** The vector instructions that matrix products live on. */
function vectorText(): string {
  try {
    const flags =
      readFileSync('/proc/cpuinfo', 'utf8')
        .match(/^flags.*$/m)?.[0]
        .split(' ') ?? []
    const known = ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_int8'].filter((flag) => flags.includes(flag))
    return known.length === 0 ? '' : ` (${known.join(', ')})`
  } catch {
    return '' // no such file outside Linux
  }
}
