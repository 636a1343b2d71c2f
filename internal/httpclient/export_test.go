package httpclient

// For tests of package httpclient_test.
var Guard = guard
