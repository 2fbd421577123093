import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import SmartOrders
import TestKit
import Testing

/// What many callers ask at once is read together: each is told his own, and what is stored now.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Readings that are joined` {
    @Test func `owner and stranger ask at once, and each sees what is his`() async throws {
        try await withStoredAPI { api in
            let (owner, stranger) = (try await api.tenant(), try await api.tenant())
            let ids = [try await api.create(owner), try await api.create(stranger)]
            let keys = [owner.key, stranger.key]
            for round in 1...3 {
                let found = try await withThrowingTaskGroup(of: (Int, Int, Answer).self) { group in
                    for number in 0..<40 {
                        let (asker, asked) = (number % 2, number / 2 % 2)
                        group.addTask {
                            (asker, asked, try await api.send(.GET, "/v1/orders/\(ids[asked])", key: keys[asker]))
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                for (asker, asked, answer) in found {
                    #expect(answer.status == (asker == asked ? 200 : 404), "\(answer.text)")
                    guard asker == asked else { continue }
                    #expect(answer.json["id"]?.text == ids[asked])
                    #expect(answer["ETag"] == "\"v\(round)\"")
                    #expect(answer.json["note"]?.text == (round == 1 ? nil : "round \(round)"))
                }
                // The next round sees the next version, and the note that came without one.
                for (index, tenant) in [owner, stranger].enumerated() {
                    let stop = #"{"stopLoss": {"price": "9\#(round)"}}"#
                    let edit = try await api.act(tenant, ids[index], .PATCH, "", stop)
                    #expect(edit.status == 200, "\(edit.text)")
                    let note = #"{"note": "round \#(round + 1)"}"#
                    let noted = try await api.send(.PUT, "/v1/orders/\(ids[index])/note", key: tenant.key, body: note)
                    #expect(noted.status == 200, "\(noted.text)")
                }
            }
        }
    }

    @Test func `a page is as new as its rows, whoever changed them`() async throws {
        try await withStoredAPI { api in
            let (owner, stranger) = (try await api.tenant(), try await api.tenant())
            let ids = [try await api.create(owner), try await api.create(owner)]
            func page(_ query: String = "") async throws -> [JSONValue] {
                let answer = try await api.send(.GET, "/v1/orders\(query)", key: owner.key)
                #expect(answer.status == 200, "\(answer.text)")
                guard case .array(let items)? = answer.json["items"] else { return [] }
                return items
            }
            for round in 1...3 {
                // The second look is at what the first one kept.
                for query in ["", "", "?sort=createdAt", "?group=active"] {
                    let items = try await page(query)
                    #expect(Set(items.compactMap { $0["id"]?.text }) == Set(ids))
                    for item in items {
                        #expect(item["version"]?.int64 == Int64(round))
                        #expect(item["note"]?.text == (round == 1 ? nil : "round \(round)"))
                        let one = try await api.send(.GET, "/v1/orders/\(item["id"]?.text ?? "")", key: owner.key)
                        #expect(one.json["stopLoss"] == item["stopLoss"] && one.json["legs"] == item["legs"])
                    }
                }
                #expect(try await api.send(.GET, "/v1/orders", key: stranger.key).json["items"] == [])
                for id in ids {
                    let edit = try await api.act(owner, id, .PATCH, "", #"{"stopLoss": {"price": "9\#(round)"}}"#)
                    #expect(edit.status == 200, "\(edit.text)")
                    // Another process writes: the row and what belongs to it, past everything that this one keeps.
                    try await api.sql(
                        """
                        INSERT INTO trader_notes (order_id, account_id, text, updated_at)
                        VALUES ('\(id)', '\(owner.account)', 'round \(round + 1)', now())
                        ON CONFLICT (order_id, account_id) DO UPDATE SET text = excluded.text
                        """
                    )
                }
            }
            // The same version in another history: another commit.
            try await api.sql(
                """
                UPDATE events SET commit_id = commit_id + 1, state = replace(state, '"93"', '"94"')
                WHERE order_id = '\(ids[0])' AND version = 4
                """
            )
            let stops = Dictionary(
                uniqueKeysWithValues: try await page().map {
                    ($0["id"]?.text ?? "", $0["stopLoss"]?["price"]?.text)
                }
            )
            #expect(stops == [ids[0]: "94", ids[1]: "93"])
        }
    }

    @Test func `the bound of open orders holds exactly, however many came and went`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            func create() async throws -> Answer {
                try await api.send(
                    .POST,
                    "/v1/orders",
                    key: tenant.key,
                    body: api.draft(tenant.account),
                    idempotency: "\(StoredRig.uuid())",
                )
            }
            // Counted far from the bound, which then comes near.
            let first = try await create()
            #expect(first.status == 201, "\(first.text)")
            try await api.sql("UPDATE accounts SET maximum_orders = 3 WHERE id = '\(tenant.account)'")
            for _ in 0..<5 {
                let answer = try await create()
                #expect(answer.status == 201, "\(answer.text)")
                let id = try #require(answer.json["id"]?.text)
                let gone = try await api.send(.DELETE, "/v1/orders/\(id)", key: tenant.key, ifMatch: "*")
                #expect(gone.status == 202, "\(gone.text)")
            }
            for _ in 0..<2 { #expect(try await create().status == 201) }
            for _ in 0..<2 {
                let refused = try await create()
                #expect(refused.status == 409 && refused.json["code"]?.text == "ORDER_LIMIT", "\(refused.text)")
            }
            try await api.sql("UPDATE accounts SET maximum_orders = 4 WHERE id = '\(tenant.account)'")
            #expect(try await create().status == 201)
            #expect(try await create().status == 409)
        }
    }
}
