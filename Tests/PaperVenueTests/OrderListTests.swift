// Spot stops and order lists: codes, balances, and what a restart knows.

import JSONText
import PaperVenue
import SmartOrders
import Testing

private let market = "paper:spot:BTCUSDT"
private let list =
    "symbol=BTCUSDT&side=SELL&quantity=2&aboveType=LIMIT_MAKER&abovePrice=110&aboveClientOrderId=t1"
    + "&belowType=STOP_LOSS_LIMIT&belowStopPrice=95&belowPrice=90&belowTimeInForce=GTC&belowClientOrderId=s1"
    + "&listClientOrderId=l1"

@Suite struct OrderListTests {
    struct Refused: Sendable {
        let path: String
        let parameters: String
        let code: Int
    }

    private static let stop = "symbol=BTCUSDT&side=SELL&type=STOP_LOSS_LIMIT&quantity=1"

    static let refused = [
        Refused(path: "/api/v3/order", parameters: stop + "&price=90&timeInForce=GTC", code: -1102),
        Refused(path: "/api/v3/order", parameters: stop + "&price=90&timeInForce=IOC&stopPrice=95", code: -1115),
        Refused(path: "/api/v3/order", parameters: stop + "&price=90&timeInForce=GTC&stopPrice=100", code: -2010),
        Refused(path: "/api/v3/order", parameters: stop + "&price=90&timeInForce=GTC&stopPrice=95.001", code: -1013),
        Refused(path: "/api/v3/orderList/oco", parameters: list.replacing("LIMIT_MAKER", with: "LIMIT"), code: -1116),
        Refused(
            path: "/api/v3/orderList/oco",
            parameters: list.replacing("ClientOrderId=s1", with: "ClientOrderId=t1"),
            code: -2010,
        ),
        Refused(
            path: "/api/v3/orderList/oco",
            parameters: list.replacing("quantity=2", with: "quantity=11"),
            code: -2010,
        ),
        Refused(path: "/api/v3/orderList/oco", parameters: list.replacing("=95&", with: "=101&"), code: -2010),
    ]

    @Test(arguments: refused)
    func `what is wrong is refused in the venue's codes`(_ row: Refused) async throws {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            let answer = try await client.send(.POST, row.path, row.parameters)
            #expect(answer.status == 400 && answer.code == row.code, "\(answer.message)")
            #expect(try await client.balance("BTC").locked.isZero)
        }
    }

    @Test func `a list is found and cancelled by its own id`() async throws {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            let placed = try await client.send(.POST, "/api/v3/orderList/oco", list)
            #expect(placed["listClientOrderId"] == "l1" && placed["listOrderStatus"] == "EXECUTING")
            #expect(try await client.balance("BTC").locked == dec("2"))
            let found = try await client.send(.GET, "/api/v3/orderList", "origClientOrderId=l1")
            #expect(found["orderListId"] == placed["orderListId"])
            let gone = try await client.send(.DELETE, "/api/v3/orderList", "symbol=BTCUSDT&listClientOrderId=l1")
            #expect(gone["listOrderStatus"] == "ALL_DONE")
            #expect(try await client.balance("BTC").locked.isZero)
            let again = try await client.send(.DELETE, "/api/v3/orderList", "symbol=BTCUSDT&listClientOrderId=l1")
            #expect(again.code == -2011)
        }
    }

    @Test func `a list survives a restart, asleep and awake`() async throws {
        let log = temporaryPath("venue.jsonl")
        let other = list.replacing("=t1", with: "=t2").replacing("=s1", with: "=s2").replacing("=l1", with: "=l2")
            .replacing("belowStopPrice=95", with: "belowStopPrice=97").replacing(
                "belowPrice=90",
                with: "belowPrice=98",
            )
        try await withVenue {
            $0.logPath = log
        } _: { client async throws in
            await client.price(market, "100", "50")
            for parameters in [list, other] {
                #expect(try await client.send(.POST, "/api/v3/orderList/oco", parameters).status == 200)
            }
            // Wakes the second one, whose limit the market does not reach.
            await client.price(market, "97", "50")
            #expect(try await client.balance("BTC").locked == dec("4"))
        }
        try await withVenue {
            $0.logPath = log
        } _: { client async throws in
            func status(_ id: String) async throws -> String? {
                try await client.send(.GET, "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=\(id)")["status"]
            }
            #expect(try await client.balance("BTC").locked == dec("4"))
            #expect(try await status("t2") == "EXPIRED")
            #expect(try await status("s2") == "NEW")
            await client.price(market, "98", "50")
            #expect(try await status("s2") == "FILLED")
            await client.price(market, "95", "50")
            #expect(try await status("t1") == "EXPIRED")
            #expect(try await status("s1") == "FILLED")
            #expect(try await client.balance("BTC").free == dec("6"))
            #expect(try await client.balance("BTC").locked.isZero)
        }
        removeText(log)
    }
}
