package ingest

func (s *Service) sessionRoutes(handle func(method, path, op string, h func(*call) error)) {}
