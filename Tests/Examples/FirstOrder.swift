// An order in Swift: create it, see why it stands where it stands, cancel it. Needs API and KEY in the environment.
import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

struct Order: Decodable { let id: String, version: Int, status: String }
struct Accounts: Decodable {
    struct Account: Decodable { let id: String }
    let items: [Account]
}
struct Problem: Decodable, Error { let code: String, detail: String }

let environment = ProcessInfo.processInfo.environment
guard let api = environment["API"], let key = environment["KEY"] else { fatalError("API and KEY are needed") }

func call<Answer: Decodable>(
    _ method: String,
    _ path: String,
    _ body: String? = nil,
    headers: [String: String] = [:],
) async throws -> Answer {
    guard let url = URL(string: api + path) else { fatalError("no address: \(api)\(path)") }
    var request = URLRequest(url: url)
    request.httpMethod = method
    request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization")
    request.setValue("application/json", forHTTPHeaderField: "Content-Type")
    for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
    request.httpBody = body.map { Data($0.utf8) }
    let (data, response) = try await URLSession.shared.data(for: request)
    let status = (response as? HTTPURLResponse)?.statusCode ?? 0
    guard (200..<300).contains(status) else { throw try JSONDecoder().decode(Problem.self, from: data) }
    return try JSONDecoder().decode(Answer.self, from: data)
}

let accounts: Accounts = try await call("GET", "/v1/accounts")
let plan = """
    {"accountId": "\(accounts.items[0].id)", "market": "paper:linear:DEMO", "side": "SELL", "qty": "1",
     "entry": {"mode": "limit", "price": "190"}, "stopLoss": {"price": "199"},
     "takeProfits": [{"price": "20", "sizePct": "100"}]}
    """
let order: Order = try await call("POST", "/v1/orders", plan, headers: ["Idempotency-Key": UUID().uuidString])
print(order.id, order.status)
let cancelled: Order = try await call("DELETE", "/v1/orders/\(order.id)", headers: ["If-Match": "*"])
print(cancelled.version, cancelled.status)
