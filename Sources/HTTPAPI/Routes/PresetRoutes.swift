// What a trader keeps for himself: panel preferences and named drafts; and the venues that there are (INTERFACES.md
// 1.9).

internal import HTTPTypes
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct PresetRoutes: Sendable {
    let backend: Backend

    private static let json = ["application/json"]

    var routes: [Route] {
        [
            Route(method: .get, pattern: "/v1/preferences", handler: preferences),
            Route(
                method: .put,
                pattern: "/v1/preferences",
                policy: .trade,
                scope: .read,
                bodyTypes: Self.json,
                handler: savePreferences,
            ),
            Route(method: .get, pattern: "/v1/presets", handler: presets),
            Route(
                method: .post,
                pattern: "/v1/presets",
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: createPreset,
            ),
            Route(
                method: .put,
                pattern: "/v1/presets/{id}",
                policy: .trade,
                bodyTypes: Self.json,
                handler: changePreset,
            ),
            Route(method: .delete, pattern: "/v1/presets/{id}", policy: .protect, handler: deletePreset),
            Route(method: .get, pattern: "/v1/venues", handler: venues),
        ]
    }

    // MARK: Preferences

    private enum Theme: String { case system, light, dark }
    private enum TimeZone: String { case utc, local }
    private enum Colours: String { case greenRed, redGreen, blueOrange }
    private enum Density: String { case comfortable, compact }

    private func preferences(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let stored = try await backend.panel.preferences(of: caller.user.id)
        return try Self.preferences(JSONField(stored.map { try JSONValue(parsing: $0) } ?? .object([:])))
    }

    private func savePreferences(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let reply = try Self.preferences(JSONField(try call.json(backend.configuration.limits)))
        guard case .bytes(let bytes) = reply.body else { return reply }
        try await backend.panel.save(preferences: Array(bytes.readableBytesView), of: caller.user.id)
        return reply
    }

    /// Reads preferences and writes all of them out: what is absent has its default.
    private static func preferences(_ json: JSONField) throws -> Reply {
        try json.refuseUnknownKeys(except: [
            "theme", "timeZone", "colours", "density", "confirmPhrases", "shortcuts", "sounds", "columns",
        ])
        let theme: Theme = try json.optional("theme")?.choice() ?? .system
        let zone: TimeZone = try json.optional("timeZone")?.choice() ?? .utc
        let colours: Colours = try json.optional("colours")?.choice() ?? .greenRed
        let density: Density = try json.optional("density")?.choice() ?? .comfortable
        let confirms = try json.optional("confirmPhrases")?.bool() ?? true
        let shortcuts = try json.optional("shortcuts")?.bool() ?? true
        let sounds = try json.optional("sounds")?.bool() ?? false
        var columns: [String] = []
        if let field = try json.optional("columns") {
            let elements = try field.elements()
            guard elements.count <= 100 else { throw field.error(.wrongType, expected: "at most 100 columns") }
            for element in elements { columns.append(try element.prose(limit: 40)) }
        }
        return .json { writer in
            writer.member("theme", theme)
            writer.member("timeZone", zone)
            writer.member("colours", colours)
            writer.member("density", density)
            writer.member("confirmPhrases", confirms)
            writer.member("shortcuts", shortcuts)
            writer.member("sounds", sounds)
            writer.key("columns")
            writer.beginArray()
            for column in columns { writer.string(column) }
            writer.endArray()
        }
    }

    // MARK: Presets

    private func presets(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let presets = try await backend.panel.presets(of: caller.user.id)
        return .list(presets) { writer, preset in writer.preset(preset) }
    }

    /// Name and draft of a body. A preset's draft may leave the quantity out; without it any stands for it here.
    private static func read(_ body: JSONValue) throws -> (name: String, draft: [UInt8]) {
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: ["name", "draft"])
        let name = try json.required("name", expected: "a name").prose(limit: 100)
        let field = try json.required("draft", expected: "a draft")
        guard case .object(var members) = field.value else { throw field.error(.wrongType, expected: "an object") }
        let written = field.value.serialized()
        if members["qty"] == nil { members["qty"] = .string("1") }
        let probe = JSONField(.object(members), path: field.path)
        if let market = try probe.optional("market") {
            _ = try market.parsed(.badID, expected: "a market id") { MarketID($0) }
        }
        let draft = try Draft(json: probe, allowing: ["market"])
        guard draft.clientOrderID == nil else {
            throw try probe.required("clientOrderId").error(.unknownField, expected: "nothing: an order has it alone")
        }
        return (name, written)
    }

    private func createPreset(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        let (name, draft) = try Self.read(body)
        let now = backend.clock.now()
        let preset = Preset(
            id: backend.newID(),
            user: caller.user.id,
            name: name,
            draft: draft,
            createdAt: now,
            updatedAt: now,
        )
        var writer = JSONWriter()
        writer.preset(preset)
        return try await backend.once(call, caller, body, status: .created, writer.take()) { answer in
            guard let outcome = try await backend.panel.add(preset, answer: answer) else {
                throw Problem(.resourceLimit, "A user has at most 200 presets.")
            }
            return outcome
        }
    }

    private func changePreset(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let id = UniqueID(call.captures[0])
        guard var preset = try await backend.panel.presets(of: caller.user.id).first(where: { $0.id == id }) else {
            throw Problem.notFound
        }
        (preset.name, preset.draft) = try Self.read(try call.json(backend.configuration.limits))
        preset.updatedAt = backend.clock.now()
        guard try await backend.panel.update(preset) else { throw Problem.notFound }
        var writer = JSONWriter()
        writer.preset(preset)
        return .json(.ok, writer.take())
    }

    private func deletePreset(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        guard let id = UniqueID(call.captures[0]) else { throw Problem.notFound }
        guard try await backend.panel.deletePreset(id, of: caller.user.id) else { throw Problem.notFound }
        return Reply(status: .noContent)
    }

    // MARK: Venues

    private func venues(_ call: Call) async throws -> Reply {
        try call.query.check(known: [])
        return .list(try await backend.venueStandings()) { writer, venue in
            writer.beginObject()
            writer.member("id", venue.id)
            writer.key("products")
            writer.beginArray()
            for product in venue.products { writer.string(product) }
            writer.endArray()
            writer.member("state", venue.state)
            writer.member("feedAgeMs", orNull: venue.feedAgeMs)
            writer.member("clockOffsetMs", orNull: nil as Int64?)
            writer.member("rateLimitRemaining", orNull: nil as Int64?)
            writer.endObject()
        }
    }
}

/// A venue as its feed shows it.
struct VenueStanding: Sendable {
    enum State: String, Sendable {
        case up = "UP"
        case degraded = "DEGRADED"
        case down = "DOWN"
    }

    let id: String
    let products: [String]
    /// Nil: nothing was ever heard.
    let feedAgeMs: Int64?

    private static let freshMs: Int64 = 10_000

    var state: State { feedAgeMs.map { $0 <= Self.freshMs ? .up : .degraded } ?? .down }
}

extension Backend {
    /// The newest price of the first markets says whether a venue's feed lives.
    private static let askedMarkets = 8

    func venueStandings() async throws(StoreError) -> [VenueStanding] {
        let instruments = try await accounts.instruments()
        let now = clock.now().microseconds
        var venues: [VenueStanding] = []
        for (id, markets) in Dictionary(grouping: instruments, by: \.market.venue).sorted(by: { $0.key < $1.key }) {
            var heard: Int64 = 0
            for instrument in markets.prefix(Self.askedMarkets) {
                for source in instrument.publishedSources {
                    let tick = await prices.latest(PriceSeries(market: instrument.market, source: source))
                    heard = max(heard, tick?.receivedAt ?? 0)
                }
            }
            let age = heard > 0 ? max(0, (now - heard) / 1_000) : nil
            let products = Set(markets.map(\.market.product)).sorted()
            venues.append(VenueStanding(id: id, products: products, feedAgeMs: age))
        }
        return venues
    }
}

extension JSONWriter {
    /// A Preset (INTERFACES.md 1.10).
    fileprivate mutating func preset(_ preset: Preset) {
        beginObject()
        member("id", preset.id.description)
        member("name", preset.name)
        key("draft")
        raw(preset.draft)
        member("createdAt", preset.createdAt)
        member("updatedAt", preset.updatedAt)
        endObject()
    }
}
