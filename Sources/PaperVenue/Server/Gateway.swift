// The way of one request: arrival, gateway, engine, answer.
//
// Everything runs on one event loop. Answers and stream frames are held back until the log lines of the same batch are
// written: `flush` is scheduled once per turn of the loop, so load makes batches larger, not latency.

internal import JSONText
internal import NIOCore
internal import SmartOrders

/// A request as the HTTP side hands it over.
struct GatewayRequest {
    let method: String
    let path: String
    let query: [UInt8]
    let body: [UInt8]
    let apiKey: String?
}

/// What goes back.
enum GatewayReply {
    case answer(status: Int, body: [UInt8], retryAfter: Int?)
    /// Nothing, ever.
    case silence
    /// The connection ends.
    case close
}

final class Gateway {
    let configuration: PaperVenueConfiguration
    let engine: VenueEngine
    let log: VenueLog
    let streams: StreamHub
    let loop: any EventLoop
    var faults: Faults
    var keyring: Keyring
    /// Every tick, where wanted.
    var ticks: VenueLog?
    private let wallClock: @Sendable () -> Int64
    private let startedAt: Int64
    private var requests: Int
    private var outbox: [(reply: (GatewayReply) -> Void, what: GatewayReply)] = []
    private var isFlushScheduled = false
    private var rates: [String: (minute: Int64, count: Int)] = [:]
    /// Random text for order ids and listen keys, apart from the faults so that they do not shift them.
    private var names: VenueRandom

    init(
        configuration: PaperVenueConfiguration,
        engine: VenueEngine,
        log: VenueLog,
        loop: any EventLoop,
        requests: Int,
        clock: @escaping @Sendable () -> Int64,
    ) {
        self.configuration = configuration
        self.engine = engine
        self.log = log
        self.loop = loop
        self.requests = requests
        wallClock = clock
        startedAt = clock()
        faults = Faults(configuration)
        keyring = Keyring(configuration)
        names = VenueRandom(seed: configuration.seed ^ UInt64(bitPattern: startedAt))
        streams = StreamHub(engine: engine)
        streams.onPending = { [unowned self] in scheduleFlush() }
        engine.onTick = { [unowned self] state, tick in streams.publish(state, tick) }
        engine.onExecution = { [unowned self] order, execution, trade in
            streams.publish(order, execution, trade, &faults)
        }
        engine.onAlgo = { [unowned self] algo in streams.publish(algo, &faults) }
    }

    /// The venue's clock, microseconds: the machine's, moved by the faults. Also the engine's idea of now.
    @discardableResult
    func readClock() -> Int64 {
        let wall = wallClock()
        let drift = (wall - startedAt) / 1000 * faults.clockDriftPpm / 1000
        engine.now = wall + faults.clockOffsetMs * 1000 + drift
        return engine.now
    }

    func freshName(_ length: Int) -> String {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
        return String(decoding: (0..<length).map { _ in letters[Int(names.next() % 62)] }, as: UTF8.self)
    }

    // MARK: Batches

    func scheduleFlush() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: loop)
        loop.execute { bound.value.flush() }
    }

    /// Log first, then answers, then stream frames.
    func flush() {
        isFlushScheduled = false
        log.flush()
        ticks?.flush()
        let ready = outbox
        outbox.removeAll(keepingCapacity: true)
        for entry in ready { entry.reply(entry.what) }
        streams.send()
    }

    private func send(_ what: GatewayReply, _ reply: @escaping (GatewayReply) -> Void) {
        outbox.append((reply, what))
        scheduleFlush()
    }

    private func after(_ microseconds: Int64, _ work: @escaping () -> Void) {
        guard microseconds > 0 else { return work() }
        let bound = NIOLoopBound(work, eventLoop: loop)
        loop.scheduleTask(in: .microseconds(microseconds)) { bound.value() }
    }

    // MARK: One request

    /// One order of several, with what the faults make of it.
    struct Part {
        let parameters: Parameters
        let plan: FaultPlan
    }

    private struct Work {
        let number: Int
        let route: Route
        let parameters: Parameters
        let request: GatewayRequest
        let plan: FaultPlan
        /// The orders of a request that places several.
        let parts: [Part]
        let latency: Int64
        let reply: (GatewayReply) -> Void
    }

    /// Takes one request; `reply` is called at most once, on the loop.
    func receive(_ request: GatewayRequest, reply: @escaping (GatewayReply) -> Void) {
        readClock()
        if request.path.hasPrefix("/paper/v1/") {
            send(control(request), reply)
            return
        }
        guard let route = Route.find(method: request.method, path: request.path) else {
            send(Self.answer(.notFoundPath), reply)
            return
        }
        requests += 1
        let parameters = Parameters(query: request.query, body: request.body)
        let parts = (route.operation == .placeTogether ? parameters.orders() : []).map { order in
            Part(parameters: order, plan: faults.plan(.place, clientID: order.orderName))
        }
        if parts.isEmpty { writeRequest(requests, route, parameters, request) }
        for part in parts {
            writeRequest(requests, Route(product: .linear, operation: .place), part.parameters, request)
        }
        let latency =
            faults.latencyMicroseconds > 0 ? faults.random.latency(median: faults.latencyMicroseconds) : 0
        let work = Work(
            number: requests,
            route: route,
            parameters: parameters,
            request: request,
            plan: parts.isEmpty
                ? faults.plan(route.operation, clientID: parameters.orderName) : FaultPlan(together: parts.map(\.plan)),
            parts: parts,
            latency: latency,
            reply: reply,
        )
        if let ending = work.plan.before {
            finish(work, ending)
            return
        }
        after(work.plan.holdMs * 1000 + latency / 2) { [self] in pass(work) }
    }

    /// The gateway: key, signature, rate, time window.
    private func pass(_ work: Work) {
        readClock()
        do throws(VenueRefusal) {
            let operation = work.route.operation
            switch operation.security {
            case .none: break
            case .key: _ = try keyring.secret(of: work.request.apiKey)
            case .signed:
                let secret = try keyring.secret(of: work.request.apiKey)
                try checkRate(work.request.apiKey ?? "")
                try work.parameters.checkSignature(secret)
                if faults.hasDeadlines || !operation.isWrite {
                    try work.parameters.checkWindow(venueTime: engine.now / 1000)
                }
            }
            if let refusal = work.plan.reject { throw refusal }
        } catch {
            refuse(work, error)
            return
        }
        after(work.plan.engineDelayMs * 1000 + work.latency / 2) { [self] in execute(work) }
    }

    private func execute(_ work: Work) {
        readClock()
        log.request = work.number
        defer {
            log.request = 0
            log.clientTime = nil
        }
        let body: [UInt8]
        do throws(VenueRefusal) {
            if work.route.operation.isWrite {
                log.clientTime = try? work.parameters.clientTime()
                if faults.hasDeadlines, faults.engineChecksDeadline {
                    try work.parameters.checkWindow(venueTime: engine.now / 1000)
                }
            }
            if let fill = work.plan.fillFirst { try fillFirst(fill, work) }
            body =
                work.route.operation == .placeTogether
                ? try placeTogether(work) : try perform(work.route, work.parameters, work.request)
        } catch {
            refuse(work, error)
            return
        }
        if work.plan.expires, work.route.operation == .place { expireNewest() }
        if let ending = work.plan.after {
            finish(work, ending)
            return
        }
        writeAnswer(work.number, work, status: 200, code: nil, isSent: true)
        after(work.plan.answerDelayMs * 1000) { [self] in
            send(.answer(status: 200, body: body, retryAfter: nil), work.reply)
        }
    }

    /// Each order on its own merits; the answer has one element for each.
    private func placeTogether(_ work: Work) throws(VenueRefusal) -> [UInt8] {
        guard (1...5).contains(work.parts.count) else { throw .badParameter }
        let single = Route(product: .linear, operation: .place)
        var writer = JSONWriter(reserving: 512 * work.parts.count)
        writer.beginArray()
        for part in work.parts {
            do throws(VenueRefusal) {
                if let refusal = part.plan.reject { throw refusal }
                try place(single, part.parameters, work.request, to: &writer)
                if part.plan.expires { expireNewest() }
            } catch {
                writeRefusal(work.number, single, part.parameters, work.request, error)
                writer.beginObject()
                writer.member("code", error.code)
                writer.member("msg", error.message)
                writer.endObject()
            }
        }
        writer.endArray()
        return writer.take()
    }

    /// The order that this placement made is ended by the venue, after an answer that says it rests.
    private func expireNewest() {
        guard let order = engine.orders.last, order.status.isOpen else { return }
        engine.end(order.id, .expired)
    }

    /// Fills what this request is about to cancel.
    private func fillFirst(_ fill: (quantity: Quantity, price: Price), _ work: Work) throws(VenueRefusal) {
        guard work.route.operation == .cancel,
            let order = try find(work.route, work.parameters, work.request, isLookup: false)
        else { return }
        try engine.fill(order.id, fill.quantity, at: fill.price)
    }

    private func checkRate(_ key: String) throws(VenueRefusal) {
        guard configuration.requestsPerMinute > 0 else { return }
        let minute = engine.now / 60_000_000
        let known = rates[key] ?? (minute, 0)
        let count = known.minute == minute ? known.count + 1 : 1
        rates[key] = (minute, count)
        if count > configuration.requestsPerMinute { throw .rateLimited }
    }

    private func refuse(_ work: Work, _ refusal: VenueRefusal) {
        if work.route.operation.isWrite {
            writeRefusal(work.number, work.route, work.parameters, work.request, refusal)
        }
        if let ending = work.plan.after {
            finish(work, ending)
            return
        }
        writeAnswer(work.number, work, status: refusal.status, code: refusal.code, isSent: true)
        let wait = refusal.status == 429 || refusal.status == 418 ? 1 : nil
        after(work.plan.answerDelayMs * 1000) { [self] in
            send(Self.answer(refusal, retryAfter: wait), work.reply)
        }
    }

    private func finish(_ work: Work, _ ending: FaultPlan.Ending) {
        switch ending {
        case .drop:
            writeAnswer(work.number, work, status: 0, code: nil, isSent: false)
            send(.silence, work.reply)
        case .close:
            writeAnswer(work.number, work, status: 0, code: nil, isSent: false)
            send(.close, work.reply)
        case .answer(let refusal, let retryAfter):
            writeAnswer(work.number, work, status: refusal.status, code: refusal.code, isSent: true)
            send(Self.answer(refusal, retryAfter: retryAfter), work.reply)
        case .garbage:
            writeAnswer(work.number, work, status: 200, code: nil, isSent: true)
            send(.answer(status: 200, body: Array("{\"data\":\"<html>ok</ht".utf8), retryAfter: nil), work.reply)
        }
    }

    /// Code 0: a body that is no JSON.
    static func answer(_ refusal: VenueRefusal, retryAfter: Int? = nil) -> GatewayReply {
        guard refusal.code != 0 else {
            return .answer(status: refusal.status, body: Array(refusal.message.utf8), retryAfter: retryAfter)
        }
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("code", refusal.code)
        writer.member("msg", refusal.message)
        writer.endObject()
        return .answer(status: refusal.status, body: writer.take(), retryAfter: retryAfter)
    }

    // MARK: Log lines

    private func writeRequest(_ number: Int, _ route: Route, _ parameters: Parameters, _ request: GatewayRequest) {
        guard route.operation.isWrite || configuration.logsReads else { return }
        log.line("request", at: engine.now) { writer in
            describe(route, parameters, request, to: &writer)
            writer.member("result", "RECEIVED")
            writer.member("request", number)
            writer.member("op", route.operation.rawValue)
            writer.member("method", request.method)
            if let time = try? parameters.clientTime() { writer.member("T0", time) }
            writer.member("recvWindow", ifPresent: parameters["recvWindow"])
        }
    }

    /// What the client sent, as text, before any check.
    private func describe(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) {
        writer.member("account", request.apiKey ?? "")
        if let symbol = parameters["symbol"] { writer.member("market", "paper:\(route.product.rawValue):\(symbol)") }
        writer.member(
            "clientOrderId",
            ifPresent: parameters.orderName,
        )
        writer.member("orderIdText", ifPresent: parameters["orderId"])
        guard route.operation == .place || route.operation == .placeAlgo else { return }
        writer.member("side", parameters["side"] ?? "")
        writer.member("type", parameters["type"] ?? "")
        writer.member("timeInForce", parameters["timeInForce"] ?? "")
        writer.member("qty", parameters["quantity"] ?? "")
        writer.member("price", parameters["price"] ?? "0")
        writer.member("triggerPrice", ifPresent: parameters["triggerPrice"])
        writer.member("reduceOnly", parameters["reduceOnly"] == "true")
    }

    private func writeRefusal(
        _ number: Int,
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        _ refusal: VenueRefusal,
    ) {
        log.line("refuse", at: engine.now) { writer in
            describe(route, parameters, request, to: &writer)
            writer.member("result", String(refusal.code))
            writer.member("request", number)
            writer.member("op", route.operation.rawValue)
            writer.member("status", refusal.status)
            writer.member("message", refusal.message)
        }
    }

    private func writeAnswer(_ number: Int, _ work: Work, status: Int, code: Int?, isSent: Bool) {
        guard work.route.operation.isWrite || configuration.logsReads else { return }
        log.line("answer", at: engine.now) { writer in
            writer.member("account", work.request.apiKey ?? "")
            writer.member(
                "clientOrderId",
                ifPresent: work.parameters.orderName,
            )
            writer.member("result", isSent ? "SENT" : "DROPPED")
            writer.member("request", number)
            writer.member("op", work.route.operation.rawValue)
            writer.member("status", status)
            if let code { writer.member("code", code) }
            if !work.plan.words.isEmpty { writer.member("fault", work.plan.words.joined(separator: ",")) }
        }
    }
}

extension Parameters {
    /// Our client's name for the order that a request is about.
    var orderName: String? {
        self["newClientOrderId"] ?? self["origClientOrderId"] ?? self["clientAlgoId"] ?? self["listClientOrderId"]
    }
}
