/**
 * What the window may do, as pure functions: main.ts only wires them to Electron, so every rule is tested without its
 * binary. The rule behind the rules: the window shows our own bundle, asks this process for everything else, and nothing
 * leaves the machine.
 */
import { realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'

export const SCHEME = 'app'
export const HOST = 'gromatic'
/** The only origin that is ever loaded; Electron serialises a standard scheme's origin without a trailing slash. */
export const ORIGIN = `${SCHEME}://${HOST}`
export const INDEX_URL = `${ORIGIN}/index.html`

/** One IPC message is a call with its input; pixels and files never travel this way. */
export const MAX_MESSAGE_CHARS = 1024 * 1024

/** Hosts that a person may be sent to in their own browser, exactly: no subdomains, no ports, no other scheme. */
export const EXTERNAL_HOSTS: ReadonlySet<string> = new Set(['groma-mllm.github.io', 'huggingface.co', 'github.com'])

/** Privileges of `app://`: a real origin with fetch and code cache, and none that would weaken the policy. */
export const SCHEME_PRIVILEGES = {
  standard: true,
  secure: true,
  supportFetchAPI: true,
  stream: true,
  codeCache: true,
  bypassCSP: false,
  allowServiceWorkers: false,
  corsEnabled: false,
  allowExtensions: false,
} as const

const parseUrl = (value: string): URL | null => (URL.canParse(value) ? new URL(value) : null)

/** True for a URL of our own bundle. Compared by parts, as `origin` of a custom scheme is "null" outside Chromium. */
export function isAppUrl(value: string): boolean {
  const url = parseUrl(value)
  return (
    url !== null &&
    url.protocol === `${SCHEME}:` &&
    url.hostname === HOST &&
    url.port === '' &&
    url.username === '' &&
    url.password === ''
  )
}

/** Only a reload of the window's own page is a navigation; a link or a dropped file is not. */
export function mayNavigate(target: string): boolean {
  const url = parseUrl(target)
  return url !== null && isAppUrl(target) && (url.pathname === '/' || url.pathname === '/index.html')
}

/** What a new window becomes: never a window, at most an address handed to the person's browser. */
export function windowOpenDecision(target: string): { action: 'deny'; external: string | null } {
  return { action: 'deny', external: externalUrl(target) }
}

/** The address to hand to the system's browser, rebuilt from its parts, or null when it is not one that we link to. */
export function externalUrl(target: string): string | null {
  const url = parseUrl(target)
  if (url === null || url.protocol !== 'https:' || url.port !== '') return null
  if (url.username !== '' || url.password !== '') return null
  return EXTERNAL_HOSTS.has(url.hostname) ? url.href : null
}

/** Requests that Chromium may make at all: our bundle, what the page made itself, and the developer tools' own files. */
export function mayRequest(target: string, developerTools: boolean): boolean {
  const url = parseUrl(target)
  if (url === null) return false
  if (url.protocol === `${SCHEME}:`) return isAppUrl(target)
  if (url.protocol === 'blob:') return isAppUrl(url.pathname)
  if (url.protocol === 'data:') return true
  return developerTools && url.protocol === 'devtools:'
}

/** Every permission that a page can ask for is refused, whatever its name: the window needs none, copying by key included. */
export function permissionGranted(_permission: string): boolean {
  return false
}

export interface Sender {
  /** URL of the frame at the time of the message; null when it has gone meanwhile. */
  frameUrl: string | null
  isMainFrame: boolean
  /** The message came from the webContents of our own window. */
  fromOwnWindow: boolean
}

/** Every message is checked: own window, main frame, own origin. */
export function isTrustedSender(sender: Sender): boolean {
  return sender.fromOwnWindow && sender.isMainFrame && sender.frameUrl !== null && isAppUrl(sender.frameUrl)
}

/** A message is a short string; its meaning is parsed by the transport. */
export function isMessage(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_MESSAGE_CHARS
}

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Headers of every answer of `app://`, errors included. */
export function responseHeaders(contentType: string): Record<string, string> {
  return {
    'Content-Type': contentType,
    'Content-Security-Policy': CONTENT_SECURITY_POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
  }
}

/** The kinds of file that the bundle consists of; anything else in the folder is not served. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  json: 'application/json; charset=utf-8',
  svg: 'image/svg+xml',
  png: 'image/png',
  jpg: 'image/jpeg',
  webp: 'image/webp',
  ico: 'image/x-icon',
  woff2: 'font/woff2',
}

export type Route =
  | { kind: 'image'; imageId: number; width: number | null }
  /** `segments` are decoded names, none of them empty, hidden, or a step up. */
  | { kind: 'file'; segments: string[]; contentType: string }
  | { kind: 'refused'; status: 400 | 403 | 404 | 405; reason: string }

const refused = (status: 400 | 403 | 404 | 405, reason: string): Route => ({ kind: 'refused', status, reason })

/**
 * Reads a request of `app://`. Images are asked for by database id, never by path:
 * `/images/12?width=256`; all else is a file of the bundle.
 */
export function route(method: string, requestUrl: string): Route {
  if (method !== 'GET' && method !== 'HEAD') return refused(405, 'only GET')
  const url = parseUrl(requestUrl)
  if (url === null || !isAppUrl(requestUrl)) return refused(403, 'foreign origin')

  if (url.pathname === '/images' || url.pathname.startsWith('/images/')) {
    const id = /^\/images\/([1-9]\d{0,15})$/.exec(url.pathname)?.[1]
    if (id === undefined || !Number.isSafeInteger(Number(id))) return refused(404, 'not an image id')
    const width = url.searchParams.get('width')
    if (width !== null && !/^[1-9]\d{0,4}$/.test(width)) return refused(400, 'not a width')
    return { kind: 'image', imageId: Number(id), width: width === null ? null : Number(width) }
  }

  const path = url.pathname === '/' ? '/index.html' : url.pathname
  let segments: string[]
  try {
    segments = path.slice(1).split('/').map(decodeURIComponent)
  } catch {
    return refused(400, 'not an address')
  }
  // A decoded name may hold what the URL parser would have resolved: %2e%2e, %2f, %5c, a drive letter, a NUL.
  for (const name of segments) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
    if (name === '' || name.startsWith('.') || /[\\/:\u0000-\u001f]/.test(name))
      return refused(403, 'outside the bundle')
  }
  const extension = segments.at(-1)?.split('.').slice(1).at(-1)?.toLowerCase() ?? ''
  const contentType = Object.hasOwn(CONTENT_TYPES, extension) ? CONTENT_TYPES[extension] : undefined
  if (contentType === undefined) return refused(404, 'not part of the bundle')
  return { kind: 'file', segments, contentType }
}

/**
 * The real path of a file of the bundle, or null when it is not there or lies, through a link, outside the root.
 * Links are followed before the comparison: a path that only looks inside is no better than `..`.
 */
export async function resolveInside(root: string, segments: readonly string[]): Promise<string | null> {
  try {
    const realRoot = await realpath(root)
    const real = await realpath(join(realRoot, ...segments))
    return real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep) ? real : null
  } catch {
    return null
  }
}

/** webPreferences of the one window; every line is the strict choice, stated even where it is the default. */
export const WEB_PREFERENCES = {
  sandbox: true,
  contextIsolation: true,
  nodeIntegration: false,
  nodeIntegrationInWorker: false,
  nodeIntegrationInSubFrames: false,
  webSecurity: true,
  allowRunningInsecureContent: false,
  webviewTag: false,
  plugins: false,
  experimentalFeatures: false,
  navigateOnDragDrop: false,
  /** The spelling dictionaries would be fetched from the network. */
  spellcheck: false,
} as const

/** Chromium's own traffic: no name resolves, nothing updates itself, no pings. Set before `ready`. */
export const COMMAND_LINE: ReadonlyArray<readonly [string, string?]> = [
  ['host-resolver-rules', 'MAP * ~NOTFOUND'],
  ['disable-background-networking'],
  ['disable-component-update'],
  ['disable-domain-reliability'],
  ['no-pings'],
]
