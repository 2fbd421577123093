// Placements that leave together.
//
// Whoever is about to place at the same moment as others shares a request with them: USD-M takes five orders in one. A
// send right is used by one request all the same (RELIABILITY.md 2.2 step 9): the request carries the oldest T0 of its
// orders, so that none of them lives longer than its fence covers, and what the venue says of one order counts for that
// one alone. What it does not say, or nobody can read, is unknown.
// Cost: nobody waits for others; who is alone sends alone.
internal import JSONText
internal import OrderEngine
internal import SmartOrders

actor BinancePlacements {
    /// What became of one of them.
    enum Told: Sendable {
        /// Nothing was sent: the caller does.
        case alone
        /// As the venue tells the order, for this caller alone.
        case order(JSONField)
        case error(VenueErrorClass, code: String, text: String)
        case notSent(String)
        case unknown(String)
    }

    private enum Word: Sendable {
        case told(Told)
        /// The next request is yours.
        case lead
    }

    private let requests: BinanceRequests
    private let http: VenueHTTP
    private let timeoutMs: Int64
    private var waiting: [(placement: Placement, resume: CheckedContinuation<Word, Never>)] = []
    private var isGathering = false
    /// As many as the venue takes.
    static let most = 5

    init(_ requests: BinanceRequests, _ http: VenueHTTP, timeoutMs: Int64) {
        self.requests = requests
        self.http = http
        self.timeoutMs = timeoutMs
    }

    /// Sends a placement with those of others, or says that there are none.
    func join(_ placement: Placement) async -> Told {
        if isGathering {
            switch await withCheckedContinuation({ waiting.append((placement, $0)) }) {
            case .told(let told): return told
            case .lead: break
            }
        }
        isGathering = true
        // Whoever can run now may have one, too.
        await Task.yield()
        let others = Array(waiting.prefix(Self.most - 1))
        waiting.removeFirst(others.count)
        // The next request does not wait for the answer of this one.
        if waiting.isEmpty {
            isGathering = false
        } else {
            waiting.removeFirst().resume.resume(returning: .lead)
        }
        guard !others.isEmpty else { return .alone }
        let told = await Self.send([placement] + others.map(\.placement), requests, http, timeoutMs)
        for (other, told) in zip(others, told.dropFirst()) { other.resume.resume(returning: .told(told)) }
        return told[0]
    }

    /// One for each, in their order.
    private nonisolated static func send(
        _ placements: [Placement],
        _ requests: BinanceRequests,
        _ http: VenueHTTP,
        _ timeoutMs: Int64,
    ) async -> [Told] {
        func all(_ told: Told) -> [Told] { Array(repeating: told, count: placements.count) }
        switch await http.send(requests.placeTogether(placements), timeoutMs: timeoutMs) {
        case .notSent(let reason): return all(.notSent(reason))
        case .unknown(let reason): return all(.unknown(reason))
        case .answered(200, let body, _):
            do {
                let answers = try BinanceAnswers.together(body, product: requests.product)
                guard answers.count == placements.count else { throw VenueError("\(answers.count) answers") }
                return zip(placements, answers).map { placement, answer in
                    guard case .order(let field) = answer else { return answer }
                    let name: String
                    do { name = try field.string("clientOrderId") } catch {
                        return .unknown("an answer without a name")
                    }
                    return name == placement.clientOrderID ? answer : .unknown("the answer is about \(name)")
                }
            } catch {
                return all(.unknown("the answer cannot be read whole: \(error)"))
            }
        case .answered(let status, let body, _):
            let (kind, code, text) = BinanceAnswers.error(status: status, body: body, product: requests.product)
            return all(.error(kind, code: code, text: text))
        }
    }
}
