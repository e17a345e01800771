/** `serve`: the window in a browser. The address, token in the fragment, is the first line of stdout. */
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { AppError } from '../contract/errors.ts'
import { startServer } from '../server.ts'
import type { Services } from '../services/createServices.ts'
import { IMAGE_FILE } from '../services/files.ts'
import { integerIn } from './arguments.ts'
import { type Context, withServices } from './context.ts'

interface ServeOptions {
  port: number
  project?: string
  images?: string
  open?: boolean
  model?: string
}

export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .option('--port <n>', 'the port on 127.0.0.1; 0 takes any free one', integerIn(0, 65535), 0)
    .option('--project <file>', 'the project to open; made first when --images is given and it is not there')
    .option('--images <dir>', 'the folder of images to open')
    .option('--model <model>', 'the model to use from now on')
    .option('--open', 'open a browser, and the last project (or the samples) when none is named')
    .description('the window in a browser on this machine; prints its address with the token')
    .addHelpText('after', '\nExample:\n  gromatic serve --port 8400 --project street.gromatic')
    .action((options: ServeOptions, command: Command) =>
      withServices(command, (context) => serve(context, options), { interactive: true }),
    )
}

async function serve(context: Context, options: ServeOptions): Promise<void> {
  const { services, signal, terminal, json, progress } = context
  // The port comes first: a busy one is told before anything is opened.
  const server = await startServer({
    client: services.client,
    image: services.picture,
    rendererDir: fileURLToPath(new URL('../../out/renderer', import.meta.url)),
    port: options.port,
  })
  try {
    await openFirst(services, options)
    if (options.model !== undefined) await services.client.call('engine.load', { model: options.model })
    services.startEngine()
    terminal.stdout.write(json ? `${JSON.stringify({ url: server.url })}\n` : `${server.url}\n`)
    if (!json) progress.note('Gromatic is open at the address above, for this machine only. Ctrl-C closes it.')
    if (options.open) openBrowser(server.url)
    await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
  } finally {
    await server.close()
  }
}

/** Opens what was asked for; with `--open` and nothing named, what was open last, or the samples. */
async function openFirst(services: Services, options: ServeOptions): Promise<void> {
  const { client } = services
  if (options.project !== undefined) {
    const path = resolve(options.project)
    if (options.images !== undefined && !existsSync(path)) {
      await client.call('project.create', { path, imagesDir: resolve(options.images) })
    } else await client.call('project.open', { path })
    return
  }
  if (options.images !== undefined) {
    await client.call('project.openFolder', { path: resolve(options.images) })
    return
  }
  if (!options.open) return
  for (const { path } of (await client.call('project.recent', {})).slice(0, 1)) {
    const opened = await client.call('project.open', { path }).catch(() => null)
    if (opened !== null) return
  }
  const samples = copySamples(services)
  if (samples !== null) await client.call('project.openFolder', { path: samples }).catch(() => null)
}

/** The sample images in the person's projects folder, where a project may lie beside them; null when there are none. */
function copySamples({ samplesDir, projectsDir }: Services): string | null {
  const target = join(projectsDir, 'Samples')
  if (existsSync(target)) return target
  if (!existsSync(samplesDir)) return null
  const temporary = `${target}.${process.pid}.tmp`
  try {
    mkdirSync(projectsDir, { recursive: true })
    cpSync(samplesDir, temporary, {
      recursive: true,
      filter: (from) => statSync(from).isDirectory() || IMAGE_FILE.test(from),
    })
    renameSync(temporary, target)
    return target
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw new AppError('IO_FAILED', `The samples could not be copied to ${target}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** Asks the system for a browser, where there is a screen. A machine without one has the address on stdout. */
function openBrowser(url: string): void {
  const screen = process.platform !== 'linux' || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY)
  if (!screen) return
  const [program, ...args] =
    process.platform === 'darwin'
      ? ['open', url]
      : process.platform === 'win32'
        ? ['explorer.exe', url]
        : ['xdg-open', url]
  const child = spawn(program!, args, { stdio: 'ignore', detached: true })
  child.on('error', () => {})
  child.unref()
}
