/** Who may talk to served mode, as pure functions: any web page of this machine's browser can try. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { SUBPROTOCOL, TOKEN_PREFIX } from './wire.ts'

/** 256 bits, URL-safe. */
export const newToken = (): string => randomBytes(32).toString('base64url')

/** Compares in a time that does not depend on where the two differ. */
export function sameSecret(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

/** The only values of `Host` we answer to: a name that someone else points at 127.0.0.1 is not one of them. */
export const allowedHosts = (port: number): string[] => [`127.0.0.1:${port}`, `localhost:${port}`]

export function hostAllowed(host: string | undefined, port: number): boolean {
  return host !== undefined && allowedHosts(port).includes(host.toLowerCase())
}

/** Browsers always name the origin of what another page sends; programs name none and show the token instead. */
export function originAllowed(origin: string | undefined, port: number): boolean {
  return origin === undefined || allowedHosts(port).some((host) => origin === `http://${host}`)
}

/** The token of an `Authorization: Bearer` header; null without one. */
export function bearerToken(authorization: string | undefined): string | null {
  return /^Bearer ([A-Za-z0-9_-]{1,256})$/.exec(authorization ?? '')?.[1] ?? null
}

/** The token of a WebSocket's `Sec-WebSocket-Protocol`; null unless our own protocol is offered too. */
export function subprotocolToken(header: string | undefined): string | null {
  const offered = (header ?? '').split(',').map((part) => part.trim())
  if (!offered.includes(SUBPROTOCOL)) return null
  return offered.find((part) => part.startsWith(TOKEN_PREFIX))?.slice(TOKEN_PREFIX.length) ?? null
}

/** Cookies know no ports: the name does, so that two windows of two servers do not take each other's. */
export const cookieName = (port: number): string => `gromatic_images_${port}`

export function cookieValue(header: string | undefined, name: string): string | null {
  for (const part of (header ?? '').split(';')) {
    const [key, ...rest] = part.trim().split('=')
    if (key === name) return rest.join('=')
  }
  return null
}

/** Sent with every answer. */
export function securityHeaders(port: number): Record<string, string> {
  const sockets = allowedHosts(port).map((host) => `ws://${host}`)
  return {
    'content-security-policy': [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self' blob: data:",
      "font-src 'self'",
      `connect-src 'self' ${sockets.join(' ')}`,
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join('; '),
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(), microphone=(), geolocation=(), payment=(), usb=()',
  }
}

const CONTENT_TYPES: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  json: 'application/json; charset=utf-8',
  map: 'application/json; charset=utf-8',
  svg: 'image/svg+xml',
  png: 'image/png',
  jpg: 'image/jpeg',
  webp: 'image/webp',
  ico: 'image/x-icon',
  woff2: 'font/woff2',
  woff: 'font/woff',
  txt: 'text/plain; charset=utf-8',
}

/** Null for a kind of file that the window does not consist of. */
export function contentTypeOf(path: string): string | null {
  const extension = /\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? ''
  return CONTENT_TYPES[extension] ?? null
}

/** A request path as a path inside the bundle, `/` separators; null when it could mean anything else. */
export function bundlePath(pathname: string): string | null {
  let decoded: string
  try {
    decoded = decodeURIComponent(pathname)
  } catch {
    return null
  }
  if (!decoded.startsWith('/') || /[\\:\0]/.test(decoded)) return null
  const parts = decoded.slice(1).split('/')
  if (decoded === '/') return 'index.html'
  return parts.some((part) => part === '' || part.startsWith('.')) ? null : parts.join('/')
}
