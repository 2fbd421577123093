// What the venue refuses, in Binance's codes and words. FACTS.md 8 maps them to classes.

/// An answer that executed nothing (but see `executionUnknown`).
struct VenueRefusal: Error, Hashable {
    /// HTTP status.
    var status = 400
    let code: Int
    let message: String

    init(status: Int = 400, _ code: Int, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    static func missing(_ parameter: String) -> VenueRefusal {
        VenueRefusal(-1102, "Mandatory parameter '\(parameter)' was not sent, was empty/null, or malformed.")
    }
    static func malformed(_ parameter: String) -> VenueRefusal {
        VenueRefusal(-1100, "Illegal characters found in parameter '\(parameter)'.")
    }
    static func notRequired(_ parameter: String) -> VenueRefusal {
        VenueRefusal(-1106, "Parameter '\(parameter)' sent when not required.")
    }
    static func filter(_ name: String) -> VenueRefusal { VenueRefusal(-1013, "Filter failure: \(name)") }

    static let precision = VenueRefusal(-1111, "Precision is over the maximum defined for this asset.")
    static let badTimeInForce = VenueRefusal(-1115, "Invalid timeInForce.")
    static let badType = VenueRefusal(-1116, "Invalid orderType.")
    static let badSide = VenueRefusal(-1117, "Invalid side.")
    static let badSymbol = VenueRefusal(-1121, "Invalid symbol.")
    static let badCombination = VenueRefusal(-1128, "Combination of optional parameters invalid.")
    static let badListenKey = VenueRefusal(-1125, "This listenKey does not exist.")
    static let badParameter = VenueRefusal(-1130, "Invalid data sent for a parameter.")

    static let outsideWindow = VenueRefusal(-1021, "Timestamp for this request is outside of the recvWindow.")
    static let aheadOfServer = VenueRefusal(
        -1021,
        "Timestamp for this request was 1000ms ahead of the server's time.",
    )
    static let badSignature = VenueRefusal(-1022, "Signature for this request is not valid.")
    static let badKeyFormat = VenueRefusal(status: 401, -2014, "API-key format invalid.")
    static let unknownKey = VenueRefusal(
        status: 401,
        -2015,
        "Invalid API-key, IP, or permissions for action.",
    )
    static let rateLimited = VenueRefusal(
        status: 429,
        -1003,
        "Too many requests; current limit of IP is exceeded.",
    )
    static let notFoundPath = VenueRefusal(status: 404, -1000, "No such path.")

    static let insufficientBalance = VenueRefusal(-2010, "Account has insufficient balance for requested action.")
    static let duplicateSpot = VenueRefusal(-2010, "Duplicate order sent.")
    static let duplicateLinear = VenueRefusal(-4116, "clientOrderId is duplicated.")
    static let duplicateAlgo = VenueRefusal(-20132, "clientAlgoId is duplicated.")
    static let wouldTriggerLinear = VenueRefusal(-2021, "Order would immediately trigger.")
    static let wouldTriggerSpot = VenueRefusal(-2010, "Order would trigger immediately.")
    static let badListPrices = VenueRefusal(
        -2010,
        "The relationship of the prices for the orders is not correct.",
    )
    static let unknownList = VenueRefusal(-2011, "Unknown order list sent.")
    static let wouldTakeSpot = VenueRefusal(-2010, "Order would immediately match and take.")
    static let wouldTakeLinear = VenueRefusal(
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    )
    static let marketClosed = VenueRefusal(-1013, "Market is closed.")
    static let unknownOrderCancel = VenueRefusal(-2011, "Unknown order sent.")
    static let unknownOrderQuery = VenueRefusal(-2013, "Order does not exist.")
    static let marginInsufficient = VenueRefusal(-2019, "Margin is insufficient.")
    static let reduceOnlyRejected = VenueRefusal(-2022, "ReduceOnly Order is rejected.")
    static let reduceOnlyFailed = VenueRefusal(
        -4118,
        "ReduceOnly Order Failed. Please check your existing position and open orders",
    )
    static let wrongPositionSide = VenueRefusal(-4061, "Order's position side does not match user's setting.")
    static let conditionalNotHere = VenueRefusal(
        -4120,
        "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    )
    static let sideUnchanged = VenueRefusal(-4059, "No need to change position side.")
    static let sideHeld = VenueRefusal(-4068, "Position side cannot be changed if there exists position.")

    /// Binance's words for "we do not know".
    static let timeout = VenueRefusal(
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    )
}
