import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import SmartOrders
import TestKit
import Testing

/// What `openapi.yaml` says of one operation, as far as the table of routes says it too.
private struct Operation: Hashable, CustomStringConvertible {
    var method: String
    var path: String
    var scope = ""
    var idempotencyKey = "none"
    var ifMatch = "none"
    var mayWait = false

    var description: String { "\(method) \(path) \(scope) \(idempotencyKey) \(ifMatch) \(mayWait)" }

    /// Reads the file line by line: it is written in one form, two spaces a level.
    static func read(_ yaml: String) -> Set<Operation> {
        var operations: Set<Operation> = []
        var path = ""
        var present: Operation?
        func end() { if let present { operations.insert(present) } }
        for line in yaml.split(separator: "\n").prefix(while: { $0 != "components:" }) {
            if line.hasPrefix("  /"), line.hasSuffix(":") {
                end()
                present = nil
                path = String(line.dropFirst(2).dropLast())
            } else if line.hasPrefix("    "), !line.hasPrefix("     "), line.hasSuffix(":"),
                ["get", "post", "put", "patch", "delete"].contains(line.dropFirst(4).dropLast())
            {
                end()
                present = Operation(method: line.dropFirst(4).dropLast().uppercased(), path: path)
            } else if line.hasPrefix("      x-scope: ") {
                present?.scope = String(line.dropFirst("      x-scope: ".count))
            } else if line.contains("parameters/IdempotencyKey'") {
                present?.idempotencyKey = "required"
            } else if line.contains("parameters/IdempotencyKeyIfAny'") {
                present?.idempotencyKey = "optional"
            } else if line.contains("parameters/IfMatch'") {
                present?.ifMatch = "required"
            } else if line.contains("parameters/IfMatchOrAny'") {
                present?.ifMatch = "requiredOrAny"
            } else if line.contains("parameters/IfMatchOrNew'") {
                present?.ifMatch = "requiredOrNew"
            } else if line.contains("parameters/PreferWait'") {
                present?.mayWait = true
            }
        }
        end()
        return operations
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `The contract files` {
    @Test func `openapi.yaml and the routes say the same`() async throws {
        try await withStoredAPI({ $0.showsOperations = true }) { api in
            let file = try await api.send(.GET, "/openapi.yaml", key: nil)
            #expect(file.status == 200)
            #expect(file["Content-Type"] == "application/yaml")
            let written = Operation.read(file.text)
            let served = Set(
                api.server.routes.map { route in
                    Operation(
                        method: route.method,
                        path: route.pattern,
                        scope: route.scope ?? "open",
                        idempotencyKey: route.idempotencyKey,
                        ifMatch: route.ifMatch,
                        mayWait: route.mayWait,
                    )
                }
            )
            #expect(written.subtracting(served).map(\.description).sorted() == [])
            #expect(served.subtracting(written).map(\.description).sorted() == [])
        }
    }

    @Test func `every code is in the file and has its page`() async throws {
        try await withStoredAPI { api in
            let file = try await api.send(.GET, "/openapi.yaml", key: nil)
            let lines = file.text.split(separator: "\n", omittingEmptySubsequences: false)
            let start = try #require(lines.firstIndex(of: "    Code:"))
            let codes = lines[(start + 2)...].prefix { $0.hasPrefix("        - ") }.map { String($0.dropFirst(10)) }
            let known = Set(RequestCode.allCases.map(\.rawValue)).union(RefusalCode.allCases.map(\.rawValue))
            #expect(Set(codes) == known)
            #expect(codes.count == Set(codes).count)
            for code in codes {
                let page = try await api.send(.GET, "/problems/\(code)", key: nil)
                #expect(page.json["code"]?.text == code)
                #expect(page.json["remedy"]?.text?.isEmpty == false)
                let html = try await api.send(.GET, "/problems/\(code)", key: nil, headers: [("Accept", "text/html")])
                #expect(html.text.contains("<h1>\(code)</h1>"))
            }
            #expect(try await api.send(.GET, "/problems/NO_SUCH_CODE", key: nil).status == 404)
        }
    }

    @Test func `every route answers a known path with another method by 405`() async throws {
        try await withStoredAPI({ $0.showsOperations = true }) { api in
            let routes = api.server.routes
            for pattern in Set(routes.map(\.pattern)) {
                let methods = Set(routes.filter { $0.pattern == pattern }.map(\.method))
                let path = pattern.replacing("{level}", with: "1").replacing("{", with: "x").replacing("}", with: "")
                for method in [HTTPMethod.GET, .POST, .PUT, .PATCH, .DELETE] where !methods.contains("\(method)") {
                    let answer = try await api.send(method, path, key: nil)
                    #expect(answer.status == 405, "\(method) \(path)")
                    #expect(answer["Allow"] == methods.sorted().joined(separator: ", "), "\(method) \(path)")
                }
            }
        }
    }

    @Test func `asyncapi.yaml is served, and names what the stream says`() async throws {
        try await withStoredAPI { api in
            let file = try await api.send(.GET, "/asyncapi.yaml", key: nil)
            #expect(file.status == 200)
            for frame in [
                "hello", "authenticated", "subscribed", "snapshot", "event", "gap", "derived", "price", "operator",
                "notice", "heartbeat", "error",
            ] {
                #expect(file.text.contains("type: { const: \(frame) }"), "\(frame)")
            }
            for (frame, members) in [
                ("authenticated", ["user", "scopes", "accounts"]),
                ("gap", ["account", "reason", "oldest", "head", "epoch"]),
            ] {
                let line = file.text.split(separator: "\n").first { $0.contains("type: { const: \(frame) }") } ?? ""
                for member in members { #expect(line.contains(" \(member): {"), "\(frame).\(member)") }
            }
            for code in [1001, 1011, 4008, 4400, 4401, 4403, 4408, 4429, 4503] {
                #expect(file.text.contains("\n  \(code): "), "\(code)")
            }
            let docs = try await api.send(.GET, "/docs", key: nil, headers: [("Accept", "text/html")])
            #expect(docs.text.contains("/openapi.yaml"))
        }
    }
}
