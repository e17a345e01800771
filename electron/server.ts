/**
 * Served mode: the same services and the same window, for a browser on this machine. Bound to 127.0.0.1; every request
 * is checked for its Host and Origin, every call and every image for its secret.
 */
import { createReadStream } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join, sep } from 'node:path'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Client } from './contract/api.ts'
import { AppError, type ErrorCode, toWireError } from './contract/errors.ts'
import { invoke, serveClient } from './transport/serve.ts'
import * as policy from './transport/servedPolicy.ts'
import { MAX_MESSAGE_BYTES, SUBPROTOCOL } from './transport/wire.ts'

/** Pixels of an image, ready to send. */
export interface ServedImage {
  path: string
  contentType: string
  etag: string
}

export interface ServerOptions {
  client: Client
  image: (imageId: number, width: number | null) => Promise<ServedImage>
  /** The built window. */
  rendererDir: string
  /** 0 = any free one. */
  port: number
  token?: string
  onLog?: (message: string) => void
}

export interface RunningServer {
  port: number
  token: string
  /** The address to open, token in the fragment: fragments are not sent, logged or passed on as referrers. */
  url: string
  close(): Promise<void>
}

/** Largest image file that is sent as it is. */
const MAX_IMAGE_BYTES = 64 * 1024 * 1024
/** A window that does not read what it is sent is cut off. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024

const STATUS: Partial<Record<ErrorCode, number>> = {
  INVALID_INPUT: 400,
  UNAUTHORIZED: 401,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  STALE: 409,
  NO_PROJECT: 409,
  READ_ONLY: 409,
  IMAGE_UNREADABLE: 422,
  DISK_FULL: 507,
  ENGINE_BUSY: 503,
  INTERNAL: 500,
}

/** Starts served mode. @throws PORT_BUSY, IO_FAILED */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const token = options.token ?? policy.newToken()
  const cookie = policy.newToken() // opens images and nothing else
  let port = options.port

  const http = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) return void response.destroy()
      const { details: _stack, ...wire } = toWireError(error)
      send(response, STATUS[wire.code] ?? 500, JSON.stringify({ error: wire }), 'application/json; charset=utf-8')
    })
  })

  const send = (response: ServerResponse, status: number, body: string, contentType = 'text/plain; charset=utf-8') => {
    response.writeHead(status, {
      ...policy.securityHeaders(port),
      'content-type': contentType,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
    })
    response.end(body)
  }

  const hasToken = (request: IncomingMessage) =>
    policy.sameSecret(policy.bearerToken(request.headers.authorization) ?? '', token)
  const hasCookie = (request: IncomingMessage) =>
    policy.sameSecret(policy.cookieValue(request.headers.cookie, policy.cookieName(port)) ?? '', cookie)

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!policy.hostAllowed(request.headers.host, port)) return send(response, 403, 'Unknown host.')
    if (!policy.originAllowed(request.headers.origin, port)) return send(response, 403, 'Unknown origin.')
    const url = URL.parse(request.url ?? '/', `http://127.0.0.1:${port}`)
    if (url === null) return send(response, 400, 'Bad address.')
    const method = request.method ?? 'GET'
    const image = /^\/images\/([1-9][0-9]{0,14})$/.exec(url.pathname)
    if (url.pathname === '/session' && method === 'POST') return session(request, response)
    if (url.pathname.startsWith('/call/') && method === 'POST') return call(request, response, url.pathname.slice(6))
    if (method !== 'GET' && method !== 'HEAD') return send(response, 405, 'Not here.')
    if (image !== null) return pixels(request, response, Number(image[1]), url.searchParams.get('width'))
    return bundle(request, response, (request.url ?? '/').replace(/[?#].*$/s, ''))
  }

  function session(request: IncomingMessage, response: ServerResponse): void {
    if (!hasToken(request)) {
      send(response, 401, 'The token in the address is missing or old.')
      return
    }
    response.setHeader('set-cookie', `${policy.cookieName(port)}=${cookie}; Path=/images; HttpOnly; SameSite=Strict`)
    response.writeHead(204, { ...policy.securityHeaders(port), 'cache-control': 'no-store' }).end()
  }

  /** One call as plain HTTP, for scripts. */
  async function call(request: IncomingMessage, response: ServerResponse, name: string): Promise<void> {
    if (!hasToken(request)) return send(response, 401, 'The token is missing or wrong.')
    const body = await readBody(request)
    if (body === null) {
      response.setHeader('connection', 'close')
      return send(response, 413, 'Larger than 1 MiB.')
    }
    let input: unknown
    try {
      input = body === '' ? {} : JSON.parse(body)
    } catch {
      throw new AppError('INVALID_INPUT', 'The body is not JSON.')
    }
    const controller = new AbortController()
    response.on('close', () => controller.abort())
    const value = await invoke(options.client, name, input, { signal: controller.signal })
    send(response, 200, JSON.stringify(value ?? null), 'application/json; charset=utf-8')
  }

  async function pixels(
    request: IncomingMessage,
    response: ServerResponse,
    id: number,
    width: string | null,
  ): Promise<void> {
    if (!hasCookie(request) && !hasToken(request)) return send(response, 401, 'No session.')
    if (width !== null && !/^[1-9][0-9]{0,4}$/.test(width))
      throw new AppError('INVALID_INPUT', 'width is not a number of pixels.')
    const file = await options.image(id, width === null ? null : Number(width))
    const headers = { ...policy.securityHeaders(port), 'cache-control': 'private, no-cache', etag: file.etag }
    if (request.headers['if-none-match'] === file.etag) return void response.writeHead(304, headers).end()
    const size = (await stat(file.path)).size
    if (size > MAX_IMAGE_BYTES) throw new AppError('IMAGE_UNREADABLE', 'The image file is larger than 64 MiB.')
    await stream(request, response, file.path, size, { ...headers, 'content-type': file.contentType })
  }

  async function bundle(request: IncomingMessage, response: ServerResponse, pathname: string): Promise<void> {
    const inside = policy.bundlePath(pathname)
    const contentType = inside === null ? null : policy.contentTypeOf(inside)
    if (inside === null || contentType === null) return send(response, 404, 'Not found.')
    const root = await realpath(options.rendererDir).catch(() => null)
    if (root === null) return send(response, 503, 'The window is not built yet: run "npm run build".')
    const path = await realpath(join(root, inside)).catch(() => null)
    if (path === null || !path.startsWith(root + sep)) return send(response, 404, 'Not found.')
    const info = await stat(path)
    if (!info.isFile()) return send(response, 404, 'Not found.')
    // Names under assets/ carry a hash of their content; everything else is asked for again.
    const cache = inside.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache'
    const headers = { ...policy.securityHeaders(port), 'content-type': contentType, 'cache-control': cache }
    await stream(request, response, path, info.size, headers)
  }

  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  const refusal = (request: IncomingMessage): string | null => {
    if (!policy.hostAllowed(request.headers.host, port)) return '403 Forbidden'
    if (!policy.originAllowed(request.headers.origin, port)) return '403 Forbidden'
    const given = policy.subprotocolToken(request.headers['sec-websocket-protocol'])
    return policy.sameSecret(given ?? '', token) ? null : '401 Unauthorized'
  }
  http.on('upgrade', (request, socket: Duplex, head) => {
    socket.on('error', () => socket.destroy())
    const refused = refusal(request)
    if (refused !== null) socket.end(`HTTP/1.1 ${refused}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    else sockets.handleUpgrade(request, socket, head, (accepted) => bindSocket(options.client, accepted))
  })

  port = await listen(http, options.port)
  return {
    port,
    token,
    url: `http://127.0.0.1:${port}/#token=${token}`,
    async close() {
      for (const socket of sockets.clients) socket.terminate()
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

function bindSocket(client: Client, socket: WebSocket): void {
  socket.on('error', () => socket.terminate()) // too large a message, or not a frame
  serveClient(client, {
    send: (message) => {
      if (socket.readyState !== socket.OPEN) return
      if (socket.bufferedAmount > MAX_BUFFERED_BYTES) socket.terminate()
      else socket.send(JSON.stringify(message))
    },
    onMessage: (listener) =>
      socket.on('message', (data, isBinary) => {
        try {
          if (isBinary) throw new Error('binary')
          listener(JSON.parse(String(data)))
        } catch {
          socket.close(1003)
        }
      }),
    onClose: (listener) => socket.on('close', listener),
  })
}

function listen(http: ReturnType<typeof createServer>, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    http.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new AppError(
              'PORT_BUSY',
              `Port ${port} is in use by another program: choose another one, or 0 for any free port.`,
            )
          : new AppError('IO_FAILED', `Cannot listen on port ${port}: ${error.message}`, { cause: error }),
      )
    })
    http.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const address = http.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}

/** The body as text; null when it is larger than a message may be. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_MESSAGE_BYTES) return null
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_MESSAGE_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function stream(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  size: number,
  headers: Record<string, string>,
): Promise<void> {
  response.writeHead(200, { ...headers, 'content-length': size })
  if (request.method === 'HEAD') return void response.end()
  // A browser that goes away in the middle is no error.
  await pipeline(createReadStream(path, { end: Math.max(0, size - 1) }), response).catch(() => response.destroy())
}
