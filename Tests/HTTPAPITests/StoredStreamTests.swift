// Streams with PostgreSQL behind them, whose row security shows an account's rows to that account alone; and what
// readers may cost.

import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

extension RawConnection {
    /// What an event source says until `text` is there, or it ends.
    fileprivate func told(_ wanted: String, after text: String = "") async throws -> String {
        var text = text
        while !text.contains(wanted) {
            let part = try await some()
            guard !part.isEmpty else {
                Issue.record("it ended before \(wanted)")
                return text
            }
            text += part
        }
        return text
    }

    fileprivate func ask(forEventsOf account: AccountID, _ key: String) async throws {
        try await send(
            "GET /v1/events?account=\(account) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(key)\r\n"
                + "Accept: text/event-stream\r\n\r\n"
        )
    }
}

@Suite(.serialized, .timeLimit(.minutes(5)))
struct `Streams of stored orders` {
    /// The last chunk of a body; the connection stays open.
    private static let end = "0\r\n\r\n"

    @Test func `an event source without a position begins with what the database holds`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            try await withSocket(api.port) { connection in
                try await connection.ask(forEventsOf: tenant.account, tenant.key)
                var text = try await connection.told("\"last\":true")
                #expect(text.contains(id) && text.contains("id: 1-1\nevent: snapshot"), "\(text)")
                _ = try await api.act(tenant, id, .DELETE, "")
                text = try await connection.told("event: order\n", after: text)
                #expect(text.contains("id: 1-2\nevent: order\n") && !text.contains("id: 1-1\nevent: order\n"))
            }
        }
    }

    @Test func `another history of the database ends its streams, and is told to who comes again`() async throws {
        try await withStoredAPI({ $0.stream.epochMs = 20 }) { api in
            let tenant = try await api.tenant()
            _ = try await api.create(tenant)
            let account = "\(tenant.account)"
            try await withSocket(api.port) { source in
                try await source.ask(forEventsOf: tenant.account, tenant.key)
                _ = try await source.told("\"last\":true")
                try await withStream(api) { stream in
                    try await stream.authenticate(tenant.key)
                    try await stream.subscribe(account, from: 1)
                    try await api.sql("UPDATE control SET incarnation = incarnation + 1")
                    #expect(try await stream.closeCode() == 1001)
                }
                #expect(try await source.told(Self.end).contains("event: notice"))
            }
            try await withStream(api) { stream in
                try await stream.authenticate(tenant.key)
                try await stream.subscribe(account, from: 1)
                let gap = try await stream.next("gap")
                #expect(gap["reason"]?.text == "EPOCH" && gap["epoch"]?.int64 == 2, "\(gap)")
                #expect(try await stream.next("snapshot")["epoch"]?.int64 == 2)
                _ = try await api.create(tenant, ["clientOrderId": "\"x\""])
                let event = try await stream.next("event")
                #expect(event["epoch"]?.int64 == 2 && event["data"]?["epoch"]?.int64 == 2, "\(event)")
            }
        }
    }

    @Test func `a stream ends when its key may not see the account any more, as it is now`() async throws {
        try await withStoredAPI({ $0.stream.recheckMs = 50 }) { api in
            for change in [
                "UPDATE accounts SET mode = 'LIVE'", "UPDATE api_keys SET ip_allow = '{203.0.113.0/24}'",
                "UPDATE accounts SET deleted_at = clock_timestamp()",
            ] {
                let (tenant, second) = (try await api.tenant(), try await api.tenant())
                try await api.sql("UPDATE accounts SET user_id = '\(tenant.user)' WHERE id = '\(second.account)'")
                try await api.sql("UPDATE api_keys SET account_ids = NULL WHERE user_id = '\(tenant.user)'")
                try await withSocket(api.port) { source in
                    try await source.ask(forEventsOf: tenant.account, tenant.key)
                    _ = try await source.told("\"last\":true")
                    try await withStream(api) { stream in
                        try await stream.authenticate(tenant.key)
                        try await stream.subscribe("\(tenant.account)", from: 0)
                        let isOfAccount = change.contains("accounts")
                        let filter = isOfAccount ? "id = '\(tenant.account)'" : "user_id = '\(tenant.user)'"
                        try await api.sql("\(change) WHERE \(filter)")
                        #expect(try await stream.closeCode() == 4403, "\(change)")
                    }
                    _ = try await source.told(Self.end)
                }
            }
        }
    }

    // MARK: Readers

    /// More than the sockets of the next tests take: a snapshot of three parts.
    private func fill(_ api: Rig) async throws {
        for number in 0..<120 { try await api.commit(.sample(number, api.account)) }
    }

    @Test func `a subscription that takes the place of another gets what it asked for`() async throws {
        try await withAPI({ change in
            change.stream.socketBufferBytes = 8_192
            change.stream.writeBufferBytes = 16_384
        }) { api in
            try await fill(api)
            try await withStream(api, receiveBuffer: 4_096) { stream in
                try await stream.authenticate()
                stream.isPaused.withLock { $0 = true }
                let ask = #"{"op":"subscribe","channel":"orders","account":"\#(api.account)""#
                try await stream.send(json: ask + "}")
                // Usually the snapshot is under way by then; what must hold then must hold before, too.
                try await Task.sleep(for: .milliseconds(300))
                try await stream.send(json: ask + #","id":"again","from":{"epoch":1,"seq":5}}"#)
                try await Task.sleep(for: .milliseconds(100))
                try await api.commit(.sample(120, api.account))
                stream.isPaused.withLock { $0 = false }
                var subscribed = try await stream.next("subscribed")
                while subscribed["id"]?.text != "again" { subscribed = try await stream.next("subscribed") }
                #expect(subscribed["replay"] == .bool(true))
                #expect(try await stream.sequences(116) == Array(6...121))
            }
        }
    }

    @Test func `an event source whose reader takes nothing is closed`() async throws {
        try await withAPI({ change in
            change.stream.socketBufferBytes = 8_192
            change.stream.stuckMs = 200
            change.stream.connectionsPerKey = 1
        }) { api in
            try await fill(api)
            try await withSocket(api.port, receiveBuffer: 4_096) { stuck in
                // It reads its head, and then no more.
                stuck.isPaused.withLock { $0 = true }
                try await stuck.ask(forEventsOf: api.account, Rig.key)
                #expect(try await stuck.told("\r\n\r\n").hasPrefix("HTTP/1.1 200"))
                // Its place is free again before it does.
                var head = ""
                while !head.hasPrefix("HTTP/1.1 200") {
                    try await withSocket(api.port) { other in
                        try await other.ask(forEventsOf: api.account, Rig.key)
                        head = try await other.told("\r\n\r\n")
                    }
                    try await Task.sleep(for: .milliseconds(20))
                }
                stuck.isPaused.withLock { $0 = false }
                _ = try await stuck.rest()
            }
        }
    }
}
