/** The built program in the real Electron, where its binary is: it opens its window and closes by itself in good order. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const has = (program: string) => spawnSync('which', [program]).status === 0

/** Electron's binary, or in words why there is none. */
function binary(): { path: string } | { reason: string } {
  const folder = join(root, 'node_modules/electron')
  const pathFile = join(folder, 'path.txt')
  const path = existsSync(pathFile) ? join(folder, 'dist', readFileSync(pathFile, 'utf8')) : ''
  return path !== '' && existsSync(path) ? { path } : { reason: `no ${join(folder, 'dist')}` }
}

it('opens its window and quits cleanly', async (context) => {
  const electron = binary()
  if ('reason' in electron) return context.skip(`Electron binary not present: ${electron.reason}`)
  const display = process.platform !== 'linux' || process.env.DISPLAY || process.env.WAYLAND_DISPLAY
  if (!display && !has('xvfb-run')) return context.skip('no display, and no xvfb-run to make one')
  // We do not switch the sandbox off, not even here.
  if (process.getuid?.() === 0) return context.skip('Chromium does not start its sandbox as root')
  if (!existsSync(join(root, 'out/renderer/index.html'))) return context.skip('the window is not built')
  const built = spawnSync(
    process.execPath,
    [join(root, 'node_modules/vite/bin/vite.js'), 'build', '-c', 'build/vite.electron.config.ts'],
    { cwd: root, encoding: 'utf8' },
  )
  expect(built.stderr + built.stdout).not.toMatch(/error/i)

  const home = mkdtempSync(join(tmpdir(), 'gromatic-electron-'))
  const [program, args] = display ? [electron.path, [root]] : ['xvfb-run', ['--auto-servernum', electron.path, root]]
  const child = spawn(program, args, {
    env: { ...process.env, GROMATIC_HOME: home, ELECTRON_RUN_AS_NODE: undefined },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => {
      output += text
    })
  const exit = new Promise<number | null>((resolve) => child.on('exit', resolve))
  try {
    const deadline = Date.now() + 60_000
    while (!output.includes('gromatic: window shown')) {
      if (child.exitCode !== null || Date.now() > deadline) expect.fail(`the window was not shown:\n${output}`)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    child.kill('SIGTERM')
    expect(await exit).toBe(0)
    const log = join(home, 'logs', 'window.log')
    if (existsSync(log)) expect(readFileSync(log, 'utf8')).not.toContain(' error ')
  } finally {
    child.kill('SIGKILL')
    rmSync(home, { recursive: true, force: true })
  }
})
