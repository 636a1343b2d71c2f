// Package e2e checks kedge against programs that are not ours: the converter
// odata-csdl, and two OData servers of npm. Run it with "make e2e".
package e2e
