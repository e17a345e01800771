import { afterEach, expect, it, vi } from 'vitest'
import { ProgressLine } from '../../electron/cli/output.ts'

afterEach(() => vi.useRealTimers())

it('shows the latest words of an answer that is longer than the terminal is wide, in one line', () => {
  vi.useFakeTimers()
  let shown = ''
  const write = (text: string) => {
    shown = text
  }
  const line = new ProgressLine({ stdout: { write }, stderr: { write, isTTY: true, columns: 20 } })
  let answer = ''
  for (const word of ['a large', 'red circle\n', 'above', 'a', 'small', 'blue star']) {
    answer += `${word} `
    vi.advanceTimersByTime(100)
    line.show({ done: 0, total: null, note: answer.trim() })
    expect(shown.endsWith(word.trim())).toBe(true)
    expect(shown).not.toContain('\n')
    expect(shown.length - '\r\u001b[2K'.length).toBeLessThan(20)
  }
})
