/**
 * The one door to the program from a clone: `npm start`, `npm test`, `npm run cli` and the rest come through here.
 * It runs on any Node 20 with nothing installed, installs and builds what is missing, then hands over to Node 24.
 */
import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { buildIfChanged } from './buildIfChanged.mjs'
import { ensureChromium } from './chromium.mjs'
import { findElectron } from './electron.mjs'
import { ensureInstalled, nodePath } from './install.mjs'
import { root, say, stop } from './say.mjs'

const [command = 'start', ...args] = process.argv.slice(2)

/** Runs a program to its end and leaves with its exit code; Ctrl-C and a polite kill reach it, and it decides. */
function become(program, programArgs, env = process.env) {
  const cwd = process.env.INIT_CWD ?? process.cwd() // paths on the command line are the caller's
  const child = spawn(program, programArgs, { cwd, env, stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => stop(`${program} could not be started: ${error.message}`))
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)))
}

/**
 * Opens the window in Electron. Where it ends before it showed a window (a system that forbids its sandbox, a missing
 * library), `otherwise` opens the same window in the browser.
 */
function becomeElectron(program, otherwise) {
  const { ELECTRON_RUN_AS_NODE: _, ...env } = process.env
  const cwd = process.env.INIT_CWD ?? process.cwd()
  const child = spawn(program, [root, ...args], { cwd, env, stdio: ['inherit', 'pipe', 'inherit'] })
  let shown = false
  let fellBack = false
  child.stdout.on('data', (chunk) => {
    shown ||= chunk.includes('gromatic: window shown')
    process.stderr.write(chunk)
  })
  const fallBack = (reason) => {
    if (fellBack) return
    fellBack = true
    otherwise(reason)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => fallBack(`Electron could not be started: ${error.message}`))
  child.on('exit', (code, signal) => {
    if (shown || code === 0 || signal === 'SIGINT' || signal === 'SIGTERM') process.exit(code ?? 0)
    fallBack('Electron ended before it could show its window')
  })
}

/** Runs one step of the tests; the first that fails ends them with its exit code. */
function step(title, program, programArgs, env = process.env) {
  say(title)
  const result = spawnSync(program, programArgs, { cwd: root, env, stdio: 'inherit' })
  if (result.error) stop(`${program} could not be started: ${result.error.message}`)
  if (result.status !== 0) process.exit(result.status ?? 1)
}

const modules = (path) => join(root, 'node_modules', path)

const commands = {
  async start(node) {
    buildIfChanged('renderer', node)
    const openInBrowser = (reason) => {
      say(`The workspace opens in the browser: ${reason}.`)
      become(node, [join(root, 'electron/cli/main.ts'), 'serve', '--open', ...args])
    }
    const electron = await findElectron(node)
    if ('reason' in electron) return openInBrowser(electron.reason)
    buildIfChanged('electron', node)
    becomeElectron(electron.path, openInBrowser)
  },
  cli(node) {
    if (args[0] === 'serve') buildIfChanged('renderer', node)
    become(node, [join(root, 'electron/cli/main.ts'), ...args])
  },
  /** Figures of this machine: `npm run bench -- NAME --quick`. */
  bench(node) {
    become(node, [join(root, 'electron/cli/main.ts'), 'bench', ...args])
  },
  build(node) {
    buildIfChanged('renderer', node)
    buildIfChanged('electron', node)
  },
  /** Types, lint, then every test; arguments go to vitest, so `npm test -- test/db` runs one folder. */
  test(node, env = process.env) {
    const chromium = ensureChromium()
    buildIfChanged('renderer', node)
    step('Checking types …', node, [modules('typescript/bin/tsc'), '-p', 'tsconfig.json'])
    step('Checking types of the window …', node, [modules('typescript/bin/tsc'), '-p', 'renderer/tsconfig.json'])
    step('Checking style …', node, [modules('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings', '.'])
    step('Testing …', node, [modules('vitest/vitest.mjs'), 'run', ...args], {
      ...env,
      ...(chromium ? { CHROMIUM_PATH: chromium } : {}),
    })
  },
  /** The same tests with their long loops: see test/support/stress.ts. */
  stress(node) {
    commands.test(node, { ...process.env, GROMATIC_STRESS: '1' })
  },
  package(node) {
    commands.build(node)
    become(node, [modules('electron-builder/cli.js'), '--config', 'build/electron-builder.config.mjs', ...args])
  },
  'setup-cuda'(node) {
    say("Fetching onnxruntime's CUDA libraries …")
    become(node, [modules('onnxruntime-node/script/install.js'), '--onnxruntime-node-install=cuda12'])
  },
}

const run = commands[command]
if (!run) stop(`unknown command: ${command}. One of ${Object.keys(commands).join(', ')}.`)
ensureInstalled()
await run(nodePath())
