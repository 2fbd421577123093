// Health, metrics, version, the pages of the problem codes, and the page that says what this is.

internal import HTTPTypes
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// Whether the process takes new requests.
final class Readiness: Sendable {
    private static let lifeNanoseconds: Int64 = 1_000_000_000

    private struct State {
        var isDraining = false
        var checks: [ReadinessCheck] = []
        var until = Int64.min
    }

    private let state = Locked(State())
    private let ask: @Sendable () async -> [ReadinessCheck]

    init(_ ask: @escaping @Sendable () async -> [ReadinessCheck]) {
        self.ask = ask
    }

    var isDraining: Bool { state.withLock { $0.isDraining } }
    func drain() { state.withLock { $0.isDraining = true } }

    /// The checks, at most a second old.
    func checks(now: Int64) async -> [ReadinessCheck] {
        if let known = state.withLock({ $0.until > now ? $0.checks : nil }) { return known }
        let checks = await ask()
        state.withLock { state in
            state.checks = checks
            state.until = now + Self.lifeNanoseconds
        }
        return checks
    }

    /// The answer of `/readyz`.
    /// - Parameters:
    ///   - details: each check with its fix, in the words of the database: not for everybody.
    ///   - now: monotonic nanoseconds.
    func reply(details: Bool, now: Int64) async -> Reply {
        let checks = await checks(now: now)
        let isDraining = isDraining
        let isDown = isDraining || checks.contains { !$0.isOK && $0.isFatal }
        let isDegraded = checks.contains { !$0.isOK }
        let status = isDraining ? "draining" : isDown ? "unavailable" : isDegraded ? "degraded" : "ready"
        return .json(isDown ? .serviceUnavailable : .ok) { writer in
            writer.member("status", status)
            guard details else { return }
            writer.key("checks")
            writer.beginArray()
            for check in checks {
                writer.beginObject()
                writer.member("name", check.name)
                writer.member("ok", check.isOK)
                writer.member("ms", check.milliseconds)
                writer.member("detail", check.detail)
                writer.member("fix", check.fix)
                writer.endObject()
            }
            writer.endArray()
        }
    }
}

extension APIConfiguration.Version {
    /// The answer of `/version`.
    var reply: Reply {
        .json { writer in
            writer.member("version", version)
            writer.member("commit", commit)
            writer.member("swift", swift)
            writer.member("builtAt", builtAt)
        }
    }
}

extension Reply {
    /// The answer of `/metrics`, in Prometheus' text format.
    static func metrics(_ text: String) -> Reply { .text("text/plain; version=0.0.4; charset=utf-8", text) }
}

struct SystemRoutes: Sendable {
    let backend: Backend
    let readiness: Readiness
    let metrics: @Sendable () -> String

    var routes: [Route] {
        let html = ["text/html"]
        var routes = [
            Route(method: .get, pattern: "/livez", access: .open, isProbe: true) { _ in
                .json { $0.member("status", "live") }
            },
            Route(method: .get, pattern: "/readyz", access: .open, isProbe: true) { _ in
                await readiness.reply(
                    details: backend.configuration.showsOperations && backend.configuration.showsDetails,
                    now: backend.clock.monotonicNanoseconds(),
                )
            },
            Route(method: .get, pattern: "/", access: .open, answers: html) { _ in welcome() },
            Route(method: .get, pattern: "/docs", access: .open, answers: html) { _ in docs() },
            Self.contract("/openapi.yaml", PackageResources.openapi_yaml),
            Self.contract("/asyncapi.yaml", PackageResources.asyncapi_yaml),
            Route(method: .get, pattern: "/problems/{code}", access: .open, answers: ["application/json"] + html) {
                try page(of: $0)
            },
        ]
        if backend.configuration.showsOperations {
            routes += [
                Route(method: .get, pattern: "/startupz", access: .open) { _ in
                    await readiness.reply(
                        details: backend.configuration.showsDetails,
                        now: backend.clock.monotonicNanoseconds(),
                    )
                },
                Route(method: .get, pattern: "/metrics", access: .open, answers: ["text/plain"]) { _ in
                    .metrics(metrics())
                },
                Route(method: .get, pattern: "/version", access: .open) { _ in backend.configuration.version.reply },
            ]
        }
        return routes
    }

    /// A contract file, as it is written.
    private static func contract(_ path: String, _ bytes: [UInt8]) -> Route {
        let types = ["application/yaml", "text/plain"]
        return Route(method: .get, pattern: path, access: .open, answers: types) { _ in
            var reply = Reply(status: .ok, headers: [.contentType: types[0]], body: .bytes(ByteBuffer(bytes: bytes)))
            reply.headers[.cacheControl] = "private, max-age=60"
            return reply
        }
    }

    // MARK: Pages

    private func page(_ title: String, _ body: String) -> Reply {
        let text = """
            <!doctype html><html lang="en"><meta charset="utf-8"><title>\(title)</title>
            <style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}</style>
            \(body)</html>

            """
        var reply = Reply.text("text/html; charset=utf-8", text)
        reply.headers[.contentSecurityPolicy] =
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
        return reply
    }

    private func welcome() -> Reply {
        page(
            "smartorders",
            """
            <h1>smartorders</h1>
            <p>Watches prices and closes positions for people while they sleep: several take-profits, a stop that may
            trail or move to break-even, one cancels the other.</p>
            <p>The API is under <code>/v1</code> with <code>Authorization: Bearer &lt;API key&gt;</code>:
            <code>POST /v1/orders</code>, <code>GET /v1/orders</code>, <code>GET /v1/instruments</code>; the stream of
            events is the WebSocket <code>/v1/stream</code>. State of this process: <a href="/readyz">/readyz</a>.</p>
            """,
        )
    }

    private func docs() -> Reply {
        page(
            "smartorders: the contract",
            """
            <h1>The contract</h1>
            <p><a href="/openapi.yaml">/openapi.yaml</a> (OpenAPI 3.1) describes the HTTP API,
            <a href="/asyncapi.yaml">/asyncapi.yaml</a> (AsyncAPI 3) the stream. Every code of a problem has its page
            under <code>/problems/&lt;code&gt;</code>.</p>
            """,
        )
    }

    /// Cause and remedy of a code. Everything shown is the program's own text.
    private func page(of call: Call) throws -> Reply {
        let code = call.captures[0]
        let status: Int
        let title: String
        let remedy: String
        if let known = RequestCode(rawValue: code) {
            (status, title, remedy) = (known.status, known.title, known.remedy)
        } else if let known = RefusalCode(rawValue: code) {
            (status, title) = (known.httpStatus, known.title)
            remedy = "Correct the order; `detail` and `errors` of the problem say what is wrong and where."
        } else {
            throw Problem.notFound
        }
        guard call.headers[.accept]?.contains("text/html") == true else {
            return .json { writer in
                writer.member("code", code)
                writer.member("status", status)
                writer.member("title", title)
                writer.member("remedy", remedy)
            }
        }
        return page(code, "<h1>\(code)</h1><p>\(status): \(title).</p><p>\(remedy)</p>")
    }
}
