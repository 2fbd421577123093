import Exchanges
import OrderEngine
import OwnerThread
import TestKit
import Testing

/// Requests to addresses that users gave reach what is public, or what the operator allows, and nothing else.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct `Webhook requests` {
    private static let home = [AddressBlock("127.0.0.0/8")].compactMap(\.self)

    private func failure(_ transport: WebhookHTTP, _ url: String) async -> String? {
        do throws(WebhookFailure) {
            _ = try await transport.post(WebhookRequest(url: url, headers: [], body: []))
            return nil
        } catch {
            return error.description
        }
    }

    @Test(arguments: [
        ("93.184.216.34", true), ("2606:2800:220:1:248:1893:25c8:1946", true), ("127.0.0.1", false),
        ("10.1.2.3", false),
        ("172.16.0.1", false), ("172.32.0.1", true), ("192.168.1.1", false), ("169.254.169.254", false),
        ("100.64.0.1", false), ("0.0.0.0", false), ("224.0.0.1", false), ("255.255.255.255", false), ("::1", false),
        ("::", false), ("fe80::1", false), ("fc00::1", false), ("fd12::1", false), ("ff02::1", false),
        ("::ffff:127.0.0.1", false), ("::ffff:93.184.216.34", true), ("64:ff9b::7f00:1", false),
        ("2002:7f00:1::", false),
        ("2001:db8::1", false), ("nonsense", false), ("", false),
    ])
    func `addresses are public or not`(_ address: String, _ isPublic: Bool) {
        #expect(AddressBlock.isPublic(address) == isPublic, "\(address)")
    }

    @Test(arguments: [
        ("https://example.com/a", "example.com", 443), ("https://example.com:8443", "example.com", 8_443),
        ("http://127.0.0.1:80/x?y", "127.0.0.1", 80), ("https://[2606:2800::1]:1/", "2606:2800::1", 1),
    ])
    func `targets are read`(_ url: String, _ host: String, _ port: Int) {
        let target = WebhookTarget(url)
        #expect(target?.host == host)
        #expect(target?.port == port)
    }

    @Test(arguments: [
        "ftp://example.com", "https://user@example.com", "https://example.com\\@127.0.0.1/", "https://",
        "https://:443/",
        "https://example.com:0/", "https://example.com:70000/", "https://exa mple.com/", "https://example.com/#a",
        "https://example.com@127.0.0.1/", "https://[::1/", "//example.com/aaaa",
    ])
    func `what is no target is refused`(_ url: String) { #expect(WebhookTarget(url) == nil, "\(url)") }

    @Test func `no private address is reached, whatever name stands before it`() async throws {
        let receiver = try HTTPReceiver()
        defer { receiver.close() }
        let names = [
            "home.example": ["127.0.0.1"], "meta.example": ["169.254.169.254"], "both.example": ["10.0.0.1", "::1"],
            "mapped.example": ["::ffff:127.0.0.1"], "nowhere.example": [],
        ]
        let transport = WebhookHTTP { names[$0] ?? [$0] }
        for host in names.keys.sorted() + ["127.0.0.1", "localhost", "[::1]"] {
            let said = await failure(transport, "https://\(host):\(receiver.port)/")
            #expect(said == "the address is not public", "\(host)")
        }
        #expect(await failure(transport, "http://home.example:\(receiver.port)/") == "only https is used")
        // A public address without TLS is none either.
        let open = WebhookHTTP(allowed: Self.home) { _ in ["93.184.216.34"] }
        #expect(await failure(open, "http://public.example/") == "only https is used")
        #expect(receiver.connectionCount == 0)
        await transport.shutdown()
        await open.shutdown()
    }

    @Test func `the connection goes to the address that was judged`() async throws {
        let receiver = try HTTPReceiver { _ in
            ReceiverAnswer(503, headers: [("Retry-After", "7")], body: String(repeating: "x", count: 10_000))
        }
        defer { receiver.close() }
        let asked = Locked(0)
        // The name exists nowhere: only what was judged can be connected to. Asked again it says something else.
        let transport = WebhookHTTP(allowed: Self.home) { _ in
            asked.withLock { count in
                count += 1
                return count == 1 ? ["127.0.0.1"] : ["10.0.0.1"]
            }
        }
        let url = "http://hook.invalid:\(receiver.port)/path?x=1"
        let answer = try await transport.post(
            WebhookRequest(url: url, headers: [("webhook-id", "msg_1")], body: Array("{}".utf8))
        )
        #expect(answer.status == 503)
        #expect(answer.retryAfter == "7")
        #expect(answer.body.count == 4_096)
        #expect(receiver.requests.first?.path == "/path?x=1")
        #expect(receiver.requests.first?.headers["host"] == "hook.invalid:\(receiver.port)")
        #expect(receiver.requests.first?.headers["webhook-id"] == "msg_1")
        #expect(receiver.requests.first?.text == "{}")
        // The connection is there, and is not used: every request judges anew.
        #expect(await failure(transport, url) == "only https is used")
        #expect(receiver.requests.count == 1)
        await transport.shutdown()
    }

    @Test func `redirects are not followed, and what does not answer is a failure`() async throws {
        let inner = try HTTPReceiver()
        let outer = try HTTPReceiver { _ in
            ReceiverAnswer(302, headers: [("Location", "http://127.0.0.1:\(inner.port)/secret")])
        }
        let transport = WebhookHTTP(allowed: Self.home)
        let answer = try await transport.post(
            WebhookRequest(url: "http://127.0.0.1:\(outer.port)/", headers: [], body: [])
        )
        #expect(answer.status == 302)
        #expect(inner.connectionCount == 0)
        inner.close()
        outer.close()
        #expect(await failure(transport, "http://127.0.0.1:\(inner.port)/gone") == "no connection")
        await transport.shutdown()
        #expect(await failure(transport, "http://127.0.0.1:\(inner.port)/") == "interrupted")
    }
}
