"""export/report"""
