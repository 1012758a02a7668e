package simulator

// A fault is a kind of thing that goes wrong.
type fault int

const (
	refreshUnreachable fault = iota
	refreshUnavailable
	refreshTooMany
	refreshSlow
	refreshHangs
	refreshIgnoresContext
	refreshAnswerLost
	refreshFailsAfter
	refreshAnswerBroken
	refreshAnswerCut
	refreshAnswerHalf
	refreshPanics
	refreshExits
	revokeFails
	updateFails
	signInFails
	serverOutage
	sessionEnded
	accessRevoked

	apiUnreachable
	apiUnavailable
	apiHangs
	apiAnswersEarly
	apiEndlessRefusal
	apiLearnsLate

	loadFails
	loadLags
	saveFails
	saveFailsAfter
	deleteFails
	deleteFailsAfter
	lockFails
	lockAnswerLost
	leaseLost
	storeSlow
	storeHangs
	storeIgnoresContext
	storePanics
	savesOutage
	storeForgets
	storeOutage

	processFreezes
	processDies

	callerCancels
	callerDeadline
	handlerSlow
	handlerPanics

	ordinaryFaults // the rest are those of DPoP
)

const (
	proofRefused fault = iota + ordinaryFaults
	proofLooksFinal
	nonceWithheld
	tokenDowngraded
	nonceModeChanges

	faultKinds
)

var faultNames = [faultKinds]string{
	refreshUnreachable:    "token server: not reached",
	refreshUnavailable:    "token server: 503",
	refreshTooMany:        "token server: 429 with Retry-After",
	refreshSlow:           "token server: slow",
	refreshHangs:          "token server: hangs",
	refreshIgnoresContext: "token server: hangs, and its client ignores its context",
	refreshAnswerLost:     "token server: answer lost",
	refreshFailsAfter:     "token server: 500 after it has rotated",
	refreshAnswerBroken:   "token server: answer is not JSON",
	refreshAnswerCut:      "token server: answer breaks off",
	refreshAnswerHalf:     "token server: answer breaks off behind the refresh token",
	refreshPanics:         "refresher panics",
	refreshExits:          "refresher ends its goroutine",
	revokeFails:           "token server: revocation fails",
	updateFails:           "the function of an Update fails",
	signInFails:           "Config.SignIn fails",
	serverOutage:          "token server: out for a while",
	sessionEnded:          "token server: ends a session",
	accessRevoked:         "token server: revokes access tokens",
	apiUnreachable:        "API: connection broken",
	apiUnavailable:        "API: 503",
	apiHangs:              "API: hangs",
	apiAnswersEarly:       "API: answers before it has read the body",
	apiEndlessRefusal:     "API: 401 whose body does not end",
	apiLearnsLate:         "API: refuses a token that it does not know yet",
	loadFails:             "store: Load fails",
	loadLags:              "store: Load without a lease shows what was",
	saveFails:             "store: Save fails",
	saveFailsAfter:        "store: Save fails after it has written",
	deleteFails:           "store: Delete fails",
	deleteFailsAfter:      "store: Delete fails after it has deleted",
	lockFails:             "store: Lock fails",
	lockAnswerLost:        "store: Lock fails after it has locked",
	leaseLost:             "store: lease lost",
	storeSlow:             "store: slow",
	storeHangs:            "store: hangs",
	storeIgnoresContext:   "store: hangs, and ignores its context",
	storePanics:           "store: panics",
	savesOutage:           "store: saves fail for a while",
	storeForgets:          "store: forgets a save",
	storeOutage:           "store: out for a while",
	processFreezes:        "a process freezes",
	processDies:           "a process dies",
	callerCancels:         "a caller cancels",
	callerDeadline:        "a caller has a deadline",
	handlerSlow:           "OnEvent takes its time",
	handlerPanics:         "OnEvent panics",
	proofRefused:          "a good proof is refused as invalid",
	proofLooksFinal:       "token server: a good proof is refused as a refresh token is",
	nonceWithheld:         "a demand for a nonce brings none",
	tokenDowngraded:       "token server: the new token is of the type Bearer",
	nonceModeChanges:      "a server changes its mind about nonces",
}

func (f fault) String() string { return faultNames[f] }

// FaultName is what a fault is called in a [Tally].
func FaultName(i int) string { return faultNames[i] }
