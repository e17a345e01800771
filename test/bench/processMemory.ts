/** Memory of another process, from Linux's /proc. */
import { readdirSync, readFileSync } from 'node:fs'
import { Missing } from './figure.ts'

function statusField(pid: number, field: string): number {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${field}:\\s*(\\d+) kB`, 'm'))
  return Number(line?.[1] ?? 0) * 1024
}

/**
 * Bytes that belong to this process alone and that no file can give back: resident anonymous pages and swapped ones.
 * Memory-mapped weights are not among them: the system may drop their pages at any time.
 * @throws Missing outside Linux
 */
export function privateBytes(pid: number): number {
  if (process.platform !== 'linux') throw new Missing('Private memory is read from /proc, which only Linux has.')
  return statusField(pid, 'RssAnon') + statusField(pid, 'VmSwap')
}

/** The process and all that it started, directly or not. */
function withDescendants(pid: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      children.set(parent, [...(children.get(parent) ?? []), Number(name)])
    } catch {
      // it ended meanwhile
    }
  }
  const found = [pid]
  for (let at = 0; at < found.length; at++) found.push(...(children.get(found[at]!) ?? []))
  return found
}

/**
 * Follows the largest peak RSS among a process and its descendants: what `/usr/bin/time -v` calls the maximum resident
 * set size, page cache of mapped files included.
 * @returns stops following and gives the peak in bytes
 */
export function followPeakRss(pid: number, everyMs = 100): () => number {
  if (process.platform !== 'linux') throw new Missing('Peak memory is read from /proc, which only Linux has.')
  let peak = 0
  const look = () => {
    for (const each of withDescendants(pid)) {
      try {
        peak = Math.max(peak, statusField(each, 'VmHWM'))
      } catch {
        // it ended meanwhile
      }
    }
  }
  const timer = setInterval(look, everyMs)
  return () => {
    clearInterval(timer)
    return peak
  }
}
